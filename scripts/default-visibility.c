// Gives the symbols that a shared library exports the ordinary visibility. For this machine's own kind of ELF file only.
//
//   default-visibility LIBRARY…
//
// Swift marks what it exports as protected, which C compilers do not expect of functions: a program built without -fpie that
// takes the address of one is refused by the linker ("non-canonical reference to canonical protected function"), and one
// that was linked against libc's `free` and now finds ours gets a warning from the loader on stderr. Calls inside the library
// are bound by now, so that the visibility in the table of dynamic symbols matters to other files alone.

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *path, const char *why) {
  fprintf(stderr, "default-visibility: %s: %s\n", path, why);
  return 1;
}

// Whether `count` records of `size` bytes at `offset` are inside a file of `length` bytes.
static int inside(size_t offset, size_t count, size_t size, size_t length) {
  return offset <= length && (size == 0 || count <= (length - offset) / size);
}

static int change(const char *path, char *file, size_t length) {
  ElfW(Ehdr) *header = (ElfW(Ehdr) *)file;
  if (length < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return fail(path, "not an ELF file");
  int ownClass = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
  if (header->e_ident[EI_CLASS] != ownClass || header->e_type != ET_DYN) return fail(path, "not a shared library of this machine");
  if (!inside(header->e_shoff, header->e_shnum, sizeof(ElfW(Shdr)), length)) return fail(path, "cut short");
  ElfW(Shdr) *sections = (ElfW(Shdr) *)(file + header->e_shoff);
  for (int i = 0; i < header->e_shnum; i++) {
    if (sections[i].sh_type != SHT_DYNSYM) continue;
    size_t count = sections[i].sh_size / sizeof(ElfW(Sym));
    if (!inside(sections[i].sh_offset, count, sizeof(ElfW(Sym)), length)) return fail(path, "cut short");
    ElfW(Sym) *symbols = (ElfW(Sym) *)(file + sections[i].sh_offset);
    for (size_t n = 0; n < count; n++) {
      if (symbols[n].st_shndx == SHN_UNDEF || (symbols[n].st_other & 3) != STV_PROTECTED) continue;
      symbols[n].st_other = (unsigned char)((symbols[n].st_other & ~3) | STV_DEFAULT);
    }
    return 0;
  }
  return fail(path, "no table of dynamic symbols");
}

int main(int count, char **arguments) {
  int status = count < 2 ? fail("usage", "default-visibility LIBRARY...") : 0;
  for (int i = 1; i < count; i++) {
    const char *path = arguments[i];
    struct stat about;
    int descriptor = open(path, O_RDWR);
    if (descriptor < 0 || fstat(descriptor, &about) != 0) {
      perror(path);
      return 1;
    }
    char *file = mmap(NULL, (size_t)about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (file == MAP_FAILED) {
      perror(path);
      return 1;
    }
    status |= change(path, file, (size_t)about.st_size);
    munmap(file, (size_t)about.st_size);
    close(descriptor);
  }
  return status;
}
