"""fast-path.py LIBRARY FUNCTION…: each function has a way from its entry to a `ret` that touches the thread block (%fs) and
stores, and passes no call, no jump into another function, no locked instruction and no system call. Prints the instructions
of the shortest such way. x86-64 only."""
import re
import subprocess
import sys
from collections import deque


def function(library, name):
    """The instructions of a function: {address: (mnemonic, operands, next address)}, and its entry."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", f"--disassemble={name}", library],
                          capture_output=True, text=True, check=True).stdout
    found = [(int(a, 16), rest.split("#")[0].strip()) for a, rest in re.findall(r"^ +([0-9a-f]+):\s+(.*)$", text, re.M)]
    result = {}
    for i, (address, rest) in enumerate(found):
        mnemonic, _, operands = rest.partition(" ")
        result[address] = (mnemonic, operands.strip(), found[i + 1][0] if i + 1 < len(found) else None)
    return result, found[0][0] if found else None


def shortest(instructions, entry):
    """Breadth first over (address, thread block seen, store seen): each branch is followed both ways."""
    queue, seen = deque([((entry, False, False), 1)]), set()
    while queue:
        state, length = queue.popleft()
        address, block, store = state
        if state in seen or address not in instructions:
            continue
        seen.add(state)
        mnemonic, operands, following = instructions[address]
        if mnemonic in ("lock", "xchg", "syscall", "ud2", "int3") or mnemonic.startswith("call"):
            continue
        if mnemonic.startswith("ret"):
            if block and store:
                return length
            continue
        block = block or "%fs:" in operands
        destination = operands.rsplit(",", 1)[-1] if "(" not in operands.rsplit(",", 1)[-1] else operands
        writes = re.match(r"(mov|add|sub|inc|dec|or|and|bts|btr)", mnemonic) and operands.endswith(")") and "(%rsp" not in destination
        store = store or bool(writes)
        if mnemonic.startswith("j"):
            target = re.match(r"([0-9a-f]+)", operands)
            if target:
                queue.append(((int(target[1], 16), block, store), length + 1))
            if mnemonic == "jmp":
                continue
        if following is not None:
            queue.append(((following, block, store), length + 1))
    return None


failed = False
for name in sys.argv[2:]:
    instructions, entry = function(sys.argv[1], name)
    length = shortest(instructions, entry) if instructions else None
    print(f"{name}: " + (f"{length} instructions, no call" if length else "no way to a ret without a call"))
    failed = failed or length is None
sys.exit(failed)
