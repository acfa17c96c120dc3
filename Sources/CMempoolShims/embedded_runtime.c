// Hides the runtime that Embedded Swift puts into every object that it compiles.
//
// Those symbols are weak and visible. In a library that is preloaded into an ordinary Swift program they would take the place
// of the real runtime's, and the program would crash in its first retain. An undefined hidden reference is enough: of all
// visibilities that a symbol has in the objects of a library, ELF keeps the most constraining one. Names that a compiler's
// version does not define stay undefined and weak, and cost nothing. `nm -D` against exports.txt finds what is missing here.
#if defined(MP_INTERPOSER) && defined(__ELF__)

#define HIDE(name) __asm__(".weak \"" #name "\"\n.hidden \"" #name "\"\n")

HIDE($es16_emptyBoxStorageSi_Sitvp);
HIDE(_swift_exceptionPersonality);
HIDE($es32_swift_stdlib_Hashing_parametersSo06_SwiftC10ParametersVvp);
HIDE($es32_swift_stdlib_Hashing_parameters_Wz);
HIDE(swift_allocEmptyBox);
HIDE(swift_allocObject);
HIDE(swift_beginAccess);
HIDE(swift_bridgeObjectRelease);
HIDE(swift_bridgeObjectRelease_n);
HIDE(swift_bridgeObjectRetain);
HIDE(swift_bridgeObjectRetain_n);
HIDE(swift_clearSensitive);
HIDE(swift_coroFrameAlloc);
HIDE(swift_deallocClassInstance);
HIDE(swift_deallocObject);
HIDE(swift_deallocPartialClassInstance);
HIDE(swift_deallocUninitializedObject);
HIDE(swift_deletedMethodError);
HIDE(swift_dynamicCastClass);
HIDE(swift_dynamicCastClassUnconditional);
HIDE(swift_endAccess);
HIDE(swift_errorInMain);
HIDE(swift_initStackObject);
HIDE(swift_initStaticObject);
HIDE(swift_isEscapingClosureAtFileLocation);
HIDE(swift_isUniquelyReferenced_native);
HIDE(swift_isUniquelyReferenced_nonNull_native);
HIDE(swift_once);
HIDE(swift_release);
HIDE(swift_release_n);
HIDE(swift_retain);
HIDE(swift_retainCount);
HIDE(swift_retain_n);
HIDE(swift_setDeallocating);
HIDE(swift_slowAlloc);
HIDE(swift_slowDealloc);
HIDE(swift_unexpectedError);
HIDE(swift_willThrow);

// Every enumeration can be hashed, and the hasher's seed comes from here. Nothing hashes; the reference alone would keep the
// library from loading where glibc has no such function (before 2.36).
#include <stddef.h>
#include <stdlib.h>
__attribute__((visibility("hidden"))) void arc4random_buf(void *bytes, size_t count) {
  (void)bytes;
  (void)count;
  abort();
}

#endif
