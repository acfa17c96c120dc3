"""load.py LIBRARY TAKE GIVE: opens a library from Python and calls its malloc-like and free-like functions in threads."""
import ctypes
import sys
import threading

library = ctypes.CDLL(sys.argv[1])
take, give = getattr(library, sys.argv[2]), getattr(library, sys.argv[3])
take.argtypes, take.restype = [ctypes.c_size_t], ctypes.c_void_p
give.argtypes, give.restype = [ctypes.c_void_p], None
wrong = []


def churn():
    for _ in range(20):
        objects = [take(size * 31) for size in range(100)]
        if None in objects or len(set(objects)) != 100:
            wrong.append(objects)
        for item in objects:
            give(item)


threads = [threading.Thread(target=churn) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(1 if wrong else 0)
