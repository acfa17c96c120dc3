// Whose handler sees which fault: the guards', and one that the program installs before or after them.
//
//   handlers FACE      "preloaded": the guards' handler is there before main; "linked": from the first mp_malloc on
//
// Each case is a process of its own. Needs MEMPOOL_GUARD_SAMPLE=1.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(C_FACE)
#include <mempool.h>
#define MALLOC mp_malloc
#define FREE mp_free
#else
#define MALLOC malloc
#define FREE free
#endif

static volatile unsigned char sink;
static unsigned char *volatile object;
// A page that nobody may touch, and that is not the guards'.
static unsigned char *volatile elsewhere;
static struct sigaction before;
static sigjmp_buf back;
static char stack[1 << 16];

static void start(void) { FREE(MALLOC(8)); }
static void guard_fault(void) {
  object = MALLOC(100);
  FREE(object);
  sink = object[0];
}
static void other_fault(void) { sink = elsewhere[16]; }

static void say(const char *what) { (void)!write(2, what, strlen(what)); }
static void plain(int number) {
  say(number == SIGSEGV ? "plain\n" : "another signal\n");
  _exit(42);
}
static void detailed(int number, siginfo_t *info, void *context) {
  int on_stack = (char *)&number - stack < (ptrdiff_t)sizeof stack && (char *)&number >= stack;
  sigset_t blocked;
  sigprocmask(SIG_BLOCK, NULL, &blocked);
  say(!context || number != SIGSEGV ? "wrong\n" : info->si_addr == elsewhere + 16 ? "elsewhere\n" : "a guarded address\n");
  if (on_stack) say("on its stack\n");
  if (sigismember(&blocked, SIGUSR1)) say("its mask\n");
  if (!sigismember(&blocked, SIGSEGV)) say("not blocked\n");
  _exit(42);
}
static void returns(int number) {
  (void)number;
  say("mends it\n");
  mprotect(elsewhere, 4096, PROT_READ | PROT_WRITE);
}
static void jumps(int number) {
  (void)number;
  siglongjmp(back, 1);
}
static void chains(int number, siginfo_t *info, void *context) {
  say("chains\n");
  before.sa_sigaction(number, info, context);
}
static void install(void (*handler)(int), int flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  sigaction(SIGSEGV, &action, &before);
}
static void install_detailed(void (*handler)(int, siginfo_t *, void *), int flags, int masked) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
  if (masked) sigaddset(&action.sa_mask, masked);
  sigaction(SIGSEGV, &action, &before);
}

static void nobodys(void) { start(), other_fault(); }
static void sent(void) { start(), kill(getpid(), SIGSEGV), pause(); }
static void bus_sent(void) { start(), raise(SIGBUS); }
static void plain_before(void) { install(plain, 0), start(), other_fault(); }
static void plain_before_guard(void) { install(plain, 0), guard_fault(); }
static void detailed_before(void) {
  stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&own, NULL);
  install_detailed(detailed, SA_ONSTACK | SA_NODEFER, SIGUSR1), start(), other_fault();
}
static void mended_before(void) { install(returns, 0), start(), other_fault(), _exit(43); }
static void once_before(void) {
  install(returns, SA_RESETHAND), start(), other_fault();
  mprotect(elsewhere, 4096, PROT_NONE);
  other_fault();
}
static void jumps_before(void) {
  install(jumps, SA_NODEFER), start();
  for (volatile int i = 0; i < 3; i++)
    if (!sigsetjmp(back, 1)) other_fault();
  _exit(44);
}
static void ignored_before(void) { install(SIG_IGN, 0), start(), raise(SIGSEGV), _exit(45); }
static void ignored_fault_before(void) { install(SIG_IGN, 0), start(), other_fault(); }
static void after(void) { start(), install_detailed(detailed, 0, 0), other_fault(); }
static void after_guard(void) { start(), install_detailed(detailed, 0, 0), guard_fault(); }
static void chains_after(void) { start(), install_detailed(chains, 0, 0), other_fault(); }
static void chains_after_guard(void) { start(), install_detailed(chains, 0, 0), guard_fault(); }
static void small_stack(void) {
  stack_t own = {.ss_sp = stack, .ss_size = 12 * 1024};
  sigaltstack(&own, NULL);
  guard_fault();
}

#define REPORT "mempool: read of "
static const struct {
  const char *name;
  void (*run)(void);
  int needsBefore, signal, status;
  const char *seen;  // the beginning of what it writes
} cases[] = {
    {"a fault of nobody's, without a handler", nobodys, 0, SIGSEGV, 0, ""},
    {"a signal that was sent, without a handler", sent, 0, SIGSEGV, 0, ""},
    {"SIGBUS that was sent, without a handler", bus_sent, 0, SIGBUS, 0, ""},
    {"before: another fault goes to the program's handler", plain_before, 1, 0, 42, "plain\n"},
    {"before: a guard's fault is reported", plain_before_guard, 1, SIGSEGV, 0, REPORT},
    {"before: address, stack, mask and SA_NODEFER are as the program asked", detailed_before, 1, 0, 42,
        "elsewhere\non its stack\nits mask\nnot blocked\n"},
    {"before: a handler that mends and returns", mended_before, 1, 0, 43, "mends it\n"},
    {"before: SA_RESETHAND handles one fault", once_before, 1, SIGSEGV, 0, "mends it\n"},
    {"before: a handler that jumps out, three times", jumps_before, 1, 0, 44, ""},
    {"before: ignored, what is sent stays ignored", ignored_before, 1, 0, 45, ""},
    {"before: ignored, a fault ends the process", ignored_fault_before, 1, SIGSEGV, 0, ""},
    {"after: another fault goes to the program's handler", after, 0, 0, 42, "elsewhere\n"},
    {"after: a guard's fault, too", after_guard, 0, 0, 42, "a guarded address\n"},
    {"after, calling on: another fault ends the process", chains_after, 0, SIGSEGV, 0, "chains\n"},
    {"after, calling on: a guard's fault is reported", chains_after_guard, 0, SIGSEGV, 0, "chains\n" REPORT},
    {"on a stack of 12 KiB for signals", small_stack, 0, SIGSEGV, 0, REPORT},
};

int main(int count, char **arguments) {
  const struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  elsewhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int preloaded = count > 1 && !strcmp(arguments[1], "preloaded"), failed = 0, passed = 0;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (cases[i].needsBefore && preloaded) continue;
    int ends[2], status;
    char seen[8192];
    size_t length = 0;
    if (pipe(ends)) return 2;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
      dup2(ends[1], 2);
      close(ends[0]), close(ends[1]);
      alarm(60);
      cases[i].run();
      _exit(1);
    }
    close(ends[1]);
    for (ssize_t got; length < sizeof seen - 1 && (got = read(ends[0], seen + length, sizeof seen - 1 - length)) > 0;)
      length += (size_t)got;
    seen[length] = 0;
    close(ends[0]);
    if (waitpid(child, &status, 0) != child) return 2;
    int ended = cases[i].signal ? WIFSIGNALED(status) && WTERMSIG(status) == cases[i].signal
                                : WIFEXITED(status) && WEXITSTATUS(status) == cases[i].status;
    // Without a report, nothing else either.
    int said = strstr(cases[i].seen, REPORT) ? !strncmp(seen, cases[i].seen, strlen(cases[i].seen))
                                             : !strcmp(seen, cases[i].seen);
    if (ended && said) {
      passed++;
      continue;
    }
    failed++;
    printf("FAILED  %s: status %d\nsaw\n%s\n", cases[i].name, status, seen);
  }
  printf("%d handlers, %d of them not as they should be\n", passed + failed, failed);
  return failed || !passed;
}
