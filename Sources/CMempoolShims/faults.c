#define _GNU_SOURCE
#include "CMempoolShims.h"
#include "cancellation.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <execinfo.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#endif

unsigned char mp_guard_storage[MP_GUARD_BYTES] __attribute__((aligned(64)));

#if defined(__GLIBC__) && defined(MP_INTERPOSER) && defined(__x86_64__) && defined(__ELF__)
// Embedded Swift writes no unwind tables, so the unwinder cannot pass through the functions of these libraries. They all keep frame
// pointers: those lead to the last of them, the one that the program called, and the unwinder begins there.
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

// backtrace, with the frame of another function in place of its own, as far as the unwinder can tell.
int mp_backtrace_from(const mp_word *frame, void **found, int most) __attribute__((visibility("hidden")));
__asm__(
    ".pushsection .text.mp_backtrace_from,\"ax\",@progbits\n"
    ".hidden mp_backtrace_from\n"
    ".globl mp_backtrace_from\n"
    ".type mp_backtrace_from, @function\n"
    "mp_backtrace_from:\n"
    ".cfi_startproc\n"
    "  push %rbx\n"
    ".cfi_def_cfa_offset 16\n"
    ".cfi_offset %rbx, -16\n"
    "  mov %rbp, %rbx\n"
    "  mov %rdi, %rbp\n"
    ".cfi_remember_state\n"
    ".cfi_restore %rbx\n"
    ".cfi_def_cfa %rbp, 16\n"
    ".cfi_offset %rbp, -16\n"
    "  mov %rsi, %rdi\n"
    "  mov %edx, %esi\n"
    "  call backtrace@PLT\n"
    "  mov %rbx, %rbp\n"
    ".cfi_restore_state\n"
    "  pop %rbx\n"
    ".cfi_def_cfa_offset 8\n"
    ".cfi_restore %rbx\n"
    "  ret\n"
    ".cfi_endproc\n"
    ".size mp_backtrace_from, .-mp_backtrace_from\n"
    ".popsection\n");

static int callers(void **found, int most) {
  const mp_word *frame = __builtin_frame_address(0);
  while (frame[1] - (mp_word)__ehdr_start < (mp_word)(etext - __ehdr_start)) frame = (const mp_word *)frame[0];
  return mp_backtrace_from(frame, found, most);
}
#elif defined(__GLIBC__)
static int callers(void **found, int most) { return backtrace(found, most); }
#else
static int callers(void **found, int most) { return (void)found, (void)most, 0; }
#endif

int mp_backtrace(mp_word *frames) {
  int saved = errno;
  void *found[MP_FRAMES + 1];
  int count = callers(found, MP_FRAMES + 1) - 1;  // without the one that asks
  for (int i = 0; i < count; i++) frames[i] = (mp_word)found[i + 1];
  errno = saved;
  return count < 0 ? 0 : count;
}

void mp_backtrace_write(mp_word frame) {
  mp_write_error("    ", 4);
#if defined(__GLIBC__)
  int saved = errno, cancellation = mp_cancellation_off();
  void *address = (void *)frame;
  backtrace_symbols_fd(&address, 1, STDERR_FILENO);
  mp_cancellation_back(cancellation);
  errno = saved;
#else
  (void)frame;
  mp_write_error("?\n", 2);
#endif
}

mp_word mp_thread_id(void) {
#if defined(__linux__)
  return (mp_word)syscall(SYS_gettid);
#else
  return mp_process_id();
#endif
}

// --- Faults

static const int watched[] = {SIGSEGV, SIGBUS};
static struct sigaction before[sizeof watched / sizeof *watched];
static int (*ours)(mp_word address, int access);

static int access_of(const void *context) {
#if defined(__x86_64__) && defined(REG_ERR)
  // The processor's error code of a page fault: bit 1 a write, bit 4 an instruction.
  greg_t error = ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR];
  return error & 16 ? MP_ACCESS_EXECUTE : error & 2 ? MP_ACCESS_WRITE : MP_ACCESS_READ;
#elif defined(__aarch64__) && defined(ESR_MAGIC)
  const ucontext_t *at = context;
  const char *next = (const char *)at->uc_mcontext.__reserved, *end = next + sizeof at->uc_mcontext.__reserved;
  while (next + sizeof(struct esr_context) <= end) {
    struct _aarch64_ctx head;
    memcpy(&head, next, sizeof head);
    if (head.magic == 0 || head.size == 0) break;
    if (head.magic == ESR_MAGIC) {
      struct esr_context record;
      memcpy(&record, next, sizeof record);
      // Exception classes 0x20 and 0x21: instructions. Bit 6 of the others: write, not read.
      if (record.esr >> 27 == 0x20 >> 1) return MP_ACCESS_EXECUTE;
      return record.esr & 1 << 6 ? MP_ACCESS_WRITE : MP_ACCESS_READ;
    }
    next += head.size;
  }
  return MP_ACCESS_UNKNOWN;
#else
  (void)context;
  return MP_ACCESS_UNKNOWN;
#endif
}

// Ends the process as if nobody had handled the signal: it is blocked here, so it arrives when the handler has returned, at the
// instruction that caused it, and with all that the system said of it.
static void end_by(int number, siginfo_t *info) {
  signal(number, SIG_DFL);
#if defined(SYS_rt_tgsigqueueinfo)
  if (!syscall(SYS_rt_tgsigqueueinfo, getpid(), mp_thread_id(), number, info)) return;
#endif
  (void)info;
  raise(number);
}

static void go_on(int number, siginfo_t *info, void *context, struct sigaction *action) {
  int takes_info = action->sa_flags & SA_SIGINFO;
  if (!takes_info && action->sa_handler == SIG_DFL) return end_by(number, info);
  if (!takes_info && action->sa_handler == SIG_IGN) {
    // The system ignores no fault, only what somebody has sent.
    return info->si_code > 0 ? end_by(number, info) : (void)0;
  }
  struct sigaction now = *action;
  if (now.sa_flags & SA_RESETHAND) {
    action->sa_flags &= ~SA_SIGINFO;
    action->sa_handler = SIG_DFL;
  }
  // As the system would have called it; it puts the mask back when this handler returns.
  pthread_sigmask(SIG_BLOCK, &now.sa_mask, NULL);
  if (now.sa_flags & SA_NODEFER) {
    sigset_t own;
    sigemptyset(&own);
    sigaddset(&own, number);
    pthread_sigmask(SIG_UNBLOCK, &own, NULL);
  }
  if (takes_info) now.sa_sigaction(number, info, context);
  else now.sa_handler(number);
}

static void on_fault(int number, siginfo_t *info, void *context) {
  (void)*(volatile mp_word *)__builtin_frame_address(0);  // a frame that callers() finds
  int saved = errno, is_fault = info->si_code > 0;  // else somebody has sent it
  if (is_fault && ours((mp_word)info->si_addr, access_of(context))) end_by(number, info);
  else go_on(number, info, context, &before[number == SIGBUS]);
  errno = saved;
}

int mp_faults_watch(int (*is_ours)(mp_word address, int access)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  ours = is_ours;
  for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
    if (sigaction(watched[i], NULL, &before[i]) || sigaction(watched[i], &action, NULL)) {
      int error = errno;
      while (i-- > 0) sigaction(watched[i], &before[i], NULL);
      errno = error;
      return -1;
    }
  }
  return 0;
}
