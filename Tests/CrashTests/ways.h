// Who makes an object, who gives it back, and who then does what is wrong, in every combination that takes another way through
// the allocator. The includer has allocate() and release(), for what heaps are told apart by, and tables of objects and calls.
#ifndef WAYS_H
#define WAYS_H

#include "case.h"

#include <semaphore.h>

static void *allocate(size_t size);
static void release(void *p);

// What a wrong call is given.
typedef struct {
  const char *name;
  void *(*make)(void);
  // How it is given back before; NULL: not at all.
  void (*release)(void *);
  // What is said of it, by calls that give back, and, where that is something else, by calls that resize and measure.
  const char *free, *use;
} Object;

typedef struct {
  const char *name;
  void (*call)(void *);
  int uses;
  // Another name of one that is attempted in every way: four will do.
  int isAlias;
  // It neither gives back nor resizes.
  int isHarmless;
} Call;

// What is said of what no heap has: who owns or adopts one makes no difference to it.
static const char foreign[] = "not memory of this allocator";

static const Object *object;
static const Call *call;
static void *subject;
// Of the heap that the object is in, and live.
static char *mate;

// --- Steps

static void make(void) {
  mate = hide(allocate(600));
  subject = object->make();
}

static void giveBack(void) {
  if (object->release) object->release(subject);
}

static void commit(void) {
  EXPECT("%s(%p): %s", call->name, subject, call->uses && object->use ? object->use : object->free);
  call->call(subject);
}

// Not in the object's size: it might be handed out again.
static void haveHeap(void) { hide(allocate(600)); }

// What a thread left is this thread's: an object of the size of `mate` lies in the same page, if a heap has room at all.
static int adoptionShows = 1;
static void adopt(void) {
  char *own = hide(allocate(600));
  if (!adoptionShows || ((uintptr_t)own ^ (uintptr_t)mate) >> 14 == 0) return;
  fprintf(stderr, "the heap was not adopted: %p, %p\n", (void *)own, (void *)mate);
  _exit(2);
}

// --- Threads

typedef void (*Step)(void);

static void *takeSteps(void *steps) {
  for (Step *step = steps; *step; step++) (*step)();
  return NULL;
}

static sem_t isThere, mayGo;
static void stay(void) {
  sem_post(&isThere);
  for (;;) pause();
}

static void inThread(Step *steps, int stays) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, takeSteps, steps)) stop("pthread_create");
  if (!stays) pthread_join(thread, NULL);
  else while (sem_wait(&isThere)) continue;
}

// One that is there before anything is given back: to start it takes memory, and might take just that. It may have a heap already.
static pthread_t waiting;
static Step beforeGo, afterGo;
static void *waitToGo(void *unused) {
  if (beforeGo) beforeGo();
  sem_post(&isThere);
  while (sem_wait(&mayGo)) continue;
  afterGo();
  return unused;
}
static void ready(Step before, Step after) {
  beforeGo = before, afterGo = after;
  sem_init(&isThere, 0, 0), sem_init(&mayGo, 0, 0);
  if (pthread_create(&waiting, NULL, waitToGo, NULL)) stop("pthread_create");
  while (sem_wait(&isThere)) continue;
}
static void letGo(void) {
  sem_post(&mayGo);
  pthread_join(waiting, NULL);
}

#define IN_THREAD(...) inThread((Step[]){__VA_ARGS__, NULL}, 0)
// It lives on; the table of its steps must, too.
#define IN_THREAD_THAT_STAYS(...)                       \
  do {                                                  \
    static Step steps[] = {__VA_ARGS__, stay, NULL};    \
    sem_init(&isThere, 0, 0);                           \
    inThread(steps, 1);                                 \
  } while (0)

// Key destructors come in rounds: in the third one the allocator's own has been.
static pthread_key_t key;
static void atExit(void *round) {
  if ((uintptr_t)round < 3) pthread_setspecific(key, (void *)((uintptr_t)round + 1));
  else commit();
}
static void armExit(void) { pthread_setspecific(key, (void *)1); }

// --- Ways

static void owner(void) { make(), giveBack(), commit(); }
static void another(void) {
  ready(NULL, commit);
  make(), giveBack(), letGo();
}
static void anotherWithAHeap(void) {
  ready(haveHeap, commit);
  make(), giveBack(), letGo();
}
static void ownerAfterAnother(void) {
  make();
  IN_THREAD(giveBack);
  commit();
}
static void twoOthers(void) {
  ready(NULL, commit);
  make();
  IN_THREAD(giveBack);
  letGo();
}
static void abandoned(void) {
  haveHeap();
  IN_THREAD(make);
  giveBack(), commit();
}
static void abandonedBefore(void) {
  haveHeap();
  IN_THREAD(make, giveBack);
  commit();
}
static void adopter(void) {
  haveHeap();
  IN_THREAD(make);
  IN_THREAD(adopt, giveBack, commit);
}
static void adopted(void) {
  haveHeap();
  IN_THREAD(make);
  IN_THREAD_THAT_STAYS(adopt);
  giveBack(), commit();
}
static void adoptedAndGivenBack(void) {
  haveHeap();
  IN_THREAD(make);
  IN_THREAD_THAT_STAYS(adopt, giveBack);
  commit();
}
static void exitHandler(void) {
  if (pthread_key_create(&key, atExit)) stop("pthread_key_create");
  ready(haveHeap, armExit);
  make(), giveBack(), letGo();
}
static void forkedChild(void) {
  make(), giveBack();
  int status;
  pid_t child = fork();
  if (child < 0) stop("fork");
  if (child == 0) {
    alarm(60);
    commit();
    _exit(0);
  }
  if (waitpid(child, &status, 0) != child) _exit(1);
  if (!WIFSIGNALED(status)) _exit(WEXITSTATUS(status));
  // What the child died of.
  signal(WTERMSIG(status), SIG_DFL);
  raise(WTERMSIG(status));
}

static const struct {
  const char *name;
  void (*go)(void);
  // Of which objects it is no other way than one of the rest: those that are not given back, those that no heap has.
  int needsRelease, needsHeap;
  int isForAliases;
} ways[] = {
    {"by its owner", owner, 0, 0, 1},
    {"by another thread", another, 0, 0, 0},
    {"by another thread with a heap", anotherWithAHeap, 0, 0, 1},
    {"by its owner, after another thread", ownerAfterAnother, 1, 1, 0},
    {"by two other threads", twoOthers, 1, 1, 0},
    {"when its owner has exited", abandoned, 0, 1, 1},
    {"when its owner has given it back and exited", abandonedBefore, 1, 1, 0},
    {"by who adopted it", adopter, 0, 1, 0},
    {"by another thread than adopted it", adopted, 0, 1, 1},
    {"when who adopted it has given it back", adoptedAndGivenBack, 1, 1, 0},
    {"in an exit handler", exitHandler, 0, 0, 0},
    {"in a forked child", forkedChild, 0, 0, 0},
};

// Each call with each object in each way.
static void attemptAll(const char *where, const Call *calls, size_t callCount, const Object *objects, size_t objectCount) {
  for (size_t c = 0; c < callCount; c++)
    for (size_t o = 0; o < objectCount; o++)
      for (size_t w = 0; w < COUNT(ways); w++) {
        call = &calls[c];
        object = &objects[o];
        if (call->isAlias && !ways[w].isForAliases) continue;
        if ((ways[w].needsRelease && !object->release) || (ways[w].needsHeap && object->free == foreign)) continue;
        attempt(ways[w].go, "%s%s: %s, %s", where, call->name, object->name, ways[w].name);
      }
}

#endif
