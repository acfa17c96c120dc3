// mempool.h in C++: it compiles, links by C names, and an allocator over it serves the standard containers.
#include "check.h"

#include <mempool.h>

#include <map>
#include <string>
#include <thread>
#include <vector>

template <class T>
struct Allocator {
  using value_type = T;
  Allocator() = default;
  template <class U>
  Allocator(const Allocator<U> &) {}
  T *allocate(std::size_t count) { return static_cast<T *>(mp_calloc(count, sizeof(T))); }
  void deallocate(T *p, std::size_t) { mp_free(p); }
  template <class U>
  bool operator==(const Allocator<U> &) const { return true; }
  template <class U>
  bool operator!=(const Allocator<U> &) const { return false; }
};

using String = std::basic_string<char, std::char_traits<char>, Allocator<char>>;
using Map = std::map<int, String, std::less<int>, Allocator<std::pair<const int, String>>>;

static void churn(int seed, int *wrong) {
  Map map;
  for (int i = 0; i < 20000; i++) {
    int key = (i * 7919 + seed) % 1000;
    map[key] = String(static_cast<std::size_t>(key % 200 + 1), static_cast<char>('a' + key % 26));
    if (i % 3 == 0) map.erase((key + 500) % 1000);
  }
  for (const auto &entry : map)
    *wrong += entry.second != String(static_cast<std::size_t>(entry.first % 200 + 1), static_cast<char>('a' + entry.first % 26));
}

int main() {
  std::vector<std::thread> threads;
  int wrong[8] = {};
  for (int i = 0; i < 8; i++) threads.emplace_back(churn, i, &wrong[i]);
  for (auto &thread : threads) thread.join();
  for (int count : wrong) CHECK(count == 0);
  return failures != 0;
}
