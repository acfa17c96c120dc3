#if !__has_include(<atomic_ops.h>)
#error "Mempool needs libatomic_ops: install Debian's package libatomic-ops-dev (apt-get install libatomic-ops-dev)"
#endif
#include <atomic_ops.h>
