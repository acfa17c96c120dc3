// C++ on the drop-in malloc: operators new and delete are libstdc++'s and stand on it, new-handlers and bad_alloc included.
#include "check.h"

#include <cstdint>
#include <cstdlib>
#include <future>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct alignas(256) Wide {
  char bytes[256];
};

static int handled;
static void handler() {
  if (++handled == 3) std::set_new_handler(nullptr);
}

int main() {
  volatile std::size_t huge = PTRDIFF_MAX - 100;
  bool thrown = false;
  try {
    ::operator delete(::operator new(huge));
  } catch (const std::bad_alloc &) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK(::operator new(huge, std::nothrow) == nullptr);
  std::set_new_handler(handler);
  thrown = false;
  try {
    ::operator delete(::operator new(huge));
  } catch (const std::bad_alloc &) {
    thrown = true;
  }
  CHECK(thrown && handled == 3);

  std::vector<std::unique_ptr<Wide>> wide;
  for (int i = 0; i < 500; i++) {
    wide.emplace_back(new Wide);
    CHECK(reinterpret_cast<std::uintptr_t>(wide.back().get()) % 256 == 0);
  }
  auto *array = new std::string[1000];
  for (int i = 0; i < 1000; i++) array[i] = std::string(static_cast<std::size_t>(i), 'a');
  for (int i = 0; i < 1000; i++) CHECK(array[i].size() == static_cast<std::size_t>(i));
  delete[] array;

  std::vector<std::future<std::size_t>> futures;
  for (int i = 0; i < 16; i++)
    futures.push_back(std::async(std::launch::async, [i] {
      std::map<int, std::string> map;
      for (int j = 0; j < 5000; j++) map[j * 7 % 1000 + i] += "text that does not fit into the string itself";
      std::size_t size = 0;
      for (auto &entry : map) size += entry.second.size();
      try {
        throw std::runtime_error("thrown across a thread's stack");
      } catch (const std::exception &error) {
        size += std::string(error.what()).size();
      }
      return size;
    }));
  std::size_t first = futures[0].get();
  for (std::size_t i = 1; i < futures.size(); i++) CHECK(futures[i].get() == first);
  return failures != 0;
}
