#include "CMempoolShims.h"

// What SizeClass.itemSize says, the other way round; a test compares them. Class 0 ends at 8 bytes, class n at 16n up to 128; then
// eight classes a doubling.
#define STEP(doubling, step)                                                            \
  [(16 << (doubling)) + (2 << (doubling)) * (step) + 1 ... (16 << (doubling)) + (2 << (doubling)) * ((step) + 1)] = \
      9 + 8 * (doubling) + (step)
#define STEPS_7(doubling) \
  STEP(doubling, 0), STEP(doubling, 1), STEP(doubling, 2), STEP(doubling, 3), STEP(doubling, 4), STEP(doubling, 5), STEP(doubling, 6)
#define STEPS(doubling) STEPS_7(doubling), STEP(doubling, 7)
const unsigned char mp_class_table[MP_CLASS_TABLE_BYTES] __attribute__((aligned(64))) = {
    0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, STEPS(0), STEPS(1), STEPS(2), STEPS(3), STEPS_7(4),
};
