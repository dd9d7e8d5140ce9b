// Counts what the process takes from C's allocator and in mappings, but for stacks: these functions
// take the place of libc's for the program and for the library in it. Only for programs with one
// thread.
//
// Under valgrind, which has its own allocator, nothing is counted: see allocations_are_counted().
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

#include "check.h"

#include <dlfcn.h>
#include <sys/mman.h>

// Volatile, since the compiler knows malloc() and free() and assumes that they do not change it.
static volatile struct {
  size_t calls;   // Calls of malloc(), calloc(), realloc() and so on.
  size_t frees;   // Calls of free() with a block, and of realloc() with one.
  size_t bytes;   // Requested bytes in the blocks below.
  size_t blocks;  // Blocks allocated since allocations_begin() and not freed yet.
  bool tracked;
} allocations;

// The sizes of the live blocks, to know how much a free() releases. Newest last.
static struct {
  void* address;
  size_t bytes;
} allocation_sizes[8192];

// Serves allocations of dlsym() itself while the functions are looked up. Never freed.
static char allocation_reserve[4096];
static size_t allocation_reserved;
static bool allocation_resolving;

static void* allocation_function(void** cache, const char* name) {
  if (*cache == NULL) {
    allocation_resolving = true;
    *cache = dlsym(RTLD_NEXT, name);
    allocation_resolving = false;
  }
  return *cache;
}

static void* allocation_from_reserve(size_t bytes) {
  void* block = allocation_reserve + allocation_reserved;
  allocation_reserved += (bytes + 15) / 16 * 16;
  return allocation_reserved <= sizeof allocation_reserve ? block : NULL;
}

static bool allocation_is_reserve(const void* block) {
  return (const char*)block >= allocation_reserve &&
         (const char*)block < allocation_reserve + sizeof allocation_reserve;
}

static void* allocation_note(void* block, size_t bytes) {
  allocations.calls++;
  if (!allocations.tracked || block == NULL) return block;
  CHECK_UINT(allocations.blocks, <, sizeof allocation_sizes / sizeof allocation_sizes[0]);
  allocation_sizes[allocations.blocks].address = block;
  allocation_sizes[allocations.blocks].bytes = bytes;
  allocations.blocks++;
  allocations.bytes += bytes;
  return block;
}

static void allocation_forget(const void* block) {
  if (block == NULL) return;
  allocations.frees++;
  for (size_t i = allocations.blocks; i-- > 0;) {
    if (allocation_sizes[i].address != block) continue;
    allocations.bytes -= allocation_sizes[i].bytes;
    allocation_sizes[i] = allocation_sizes[--allocations.blocks];
    return;
  }
}

void* malloc(size_t bytes) {
  static void* next;
  if (allocation_resolving) return allocation_from_reserve(bytes);
  void* (*libc_malloc)(size_t);
  *(void**)&libc_malloc = allocation_function(&next, "malloc");
  return allocation_note(libc_malloc(bytes), bytes);
}

void* calloc(size_t count, size_t bytes) {
  static void* next;
  if (allocation_resolving) return allocation_from_reserve(count * bytes);
  void* (*libc_calloc)(size_t, size_t);
  *(void**)&libc_calloc = allocation_function(&next, "calloc");
  return allocation_note(libc_calloc(count, bytes), count * bytes);
}

void* realloc(void* block, size_t bytes) {
  static void* next;
  void* (*libc_realloc)(void*, size_t);
  *(void**)&libc_realloc = allocation_function(&next, "realloc");
  void* moved = libc_realloc(block, bytes);
  if (moved == NULL && bytes > 0) return NULL;
  allocation_forget(block);
  return allocation_note(moved, bytes);
}

int posix_memalign(void** block, size_t alignment, size_t bytes) {
  static void* next;
  int (*libc_posix_memalign)(void**, size_t, size_t);
  *(void**)&libc_posix_memalign = allocation_function(&next, "posix_memalign");
  int error = libc_posix_memalign(block, alignment, bytes);
  if (error == 0) allocation_note(*block, bytes);
  return error;
}

void* aligned_alloc(size_t alignment, size_t bytes) {
  static void* next;
  void* (*libc_aligned_alloc)(size_t, size_t);
  *(void**)&libc_aligned_alloc = allocation_function(&next, "aligned_alloc");
  return allocation_note(libc_aligned_alloc(alignment, bytes), bytes);
}

void* memalign(size_t alignment, size_t bytes) {
  static void* next;
  void* (*libc_memalign)(size_t, size_t);
  *(void**)&libc_memalign = allocation_function(&next, "memalign");
  return allocation_note(libc_memalign(alignment, bytes), bytes);
}

void free(void* block) {
  static void* next;
  if (allocation_is_reserve(block) || allocation_resolving) return;
  void (*libc_free)(void*);
  *(void**)&libc_free = allocation_function(&next, "free");
  allocation_forget(block);
  libc_free(block);
}

// How many mappings were made.
static size_t mappings;

void* mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  static void* next;
  void* (*libc_mmap)(void*, size_t, int, int, int, off_t);
  *(void**)&libc_mmap = allocation_function(&next, "mmap");
  mappings++;
  void* block = libc_mmap(address, bytes, protection, flags, fd, offset);
  bool is_table = block != MAP_FAILED && (flags & MAP_ANONYMOUS) && !(flags & MAP_STACK);
  return is_table ? allocation_note(block, bytes) : block;
}

int munmap(void* block, size_t bytes) {
  static void* next;
  int (*libc_munmap)(void*, size_t);
  *(void**)&libc_munmap = allocation_function(&next, "munmap");
  allocation_forget(block);
  return libc_munmap(block, bytes);
}

// Starts to count the bytes of blocks that are allocated from now on.
static inline void allocations_begin(void) {
  allocations.tracked = true;
  allocations.bytes = 0;
  allocations.blocks = 0;
}

static inline void allocations_end(void) { allocations.tracked = false; }

// Whether the functions above are in use. They must be, unless valgrind has replaced them.
static inline bool allocations_are_counted(void) {
  // Volatile as well, or the compiler removes an allocation whose block is not used.
  void* volatile block;
  size_t calls_before = allocations.calls, frees_before = allocations.frees;
  block = malloc(1);
  free(block);
  bool counted = allocations.calls == calls_before + 1 && allocations.frees == frees_before + 1;
  CHECK(counted || under_valgrind());
  return counted;
}

#endif  // ALLOCATIONS_H
