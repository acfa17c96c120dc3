// A correct program: containers and strings on threads that hand them over, and libc's calls for memory, malloc_usable_size too.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <map>
#include <string>
#include <thread>
#include <vector>

// Containers on malloc: `new` is libstdc++'s, in whose place valgrind puts its own.
template <class T> struct on_malloc {
  using value_type = T;
  on_malloc() = default;
  template <class U> on_malloc(const on_malloc<U> &) {}
  T *allocate(std::size_t count) { return static_cast<T *>(std::malloc(count * sizeof(T))); }
  void deallocate(T *place, std::size_t) { std::free(place); }
  bool operator==(const on_malloc &) const { return true; }
  bool operator!=(const on_malloc &) const { return false; }
};
using text = std::basic_string<char, std::char_traits<char>, on_malloc<char>>;
using texts = std::vector<text, on_malloc<text>>;
using map = std::map<int, texts, std::less<int>, on_malloc<std::pair<const int, texts>>>;

static map part(int first) {
  map result;
  for (int i = first; i < first + 200; i++)
    for (int j = 0; j < i % 7; j++) result[i].emplace_back(text(static_cast<std::size_t>(i * j), 'x'));
  return result;
}

int main() {
  map parts[3];
  std::thread threads[3];
  for (int i = 0; i < 3; i++) threads[i] = std::thread([&parts, i] { parts[i] = part(i * 200); });
  for (auto &thread : threads) thread.join();
  std::size_t sum = 0;
  for (auto &part : parts)
    for (auto &entry : part)
      for (auto &line : entry.second) sum += line.size();
  for (std::size_t size : {1, 100, 5000, 100000, 3000000, 40000000}) {
    auto *object = static_cast<char *>(std::malloc(size));
    // All of it is the program's, once it has asked.
    std::size_t usable = malloc_usable_size(object);
    std::memset(object, 1, usable);
    object = static_cast<char *>(std::realloc(object, usable + 1));
    object[usable] = 1;
    for (std::size_t at = 0; at <= usable; at += size) sum += static_cast<std::size_t>(object[at]);
    object = static_cast<char *>(std::realloc(object, size / 3 + 1));
    sum += static_cast<std::size_t>(object[size / 3]);
    std::free(object);
    auto *zeroes = static_cast<char *>(std::calloc(size, 1));
    for (std::size_t at = 0; at < size; at += size / 1000 + 1) sum += static_cast<std::size_t>(zeroes[at]);
    std::free(zeroes);
  }
  auto *copies = new std::vector<std::string>(100, std::string(100, 'y'));
  sum += copies->size();
  delete copies;
  std::printf("%zu\n", sum);
}
