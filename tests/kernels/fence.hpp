// Memory between two pages that nobody may touch.
//
// One byte too far is a segmentation fault on the spot, in masked loads and inline assembly too,
// which AddressSanitizer does not see.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

class Fence {
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size_t room;
    char *begin;

  public:
    static constexpr size_t margin = 512;  // bytes beside what was asked for, watched by intact()
    static constexpr char pattern = '\xa5';

    explicit Fence(size_t bytes) : room((bytes + margin + page - 1) / page * page) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void *all = mmap(nullptr, room + 2 * page, PROT_NONE, flags, -1, 0);
        begin = static_cast<char *>(all) + page;
        if (all == MAP_FAILED || mprotect(begin, room, PROT_READ | PROT_WRITE)) {
            std::perror("fence");
            std::exit(1);
        }
    }
    Fence(const Fence &) = delete;
    ~Fence() { munmap(begin - page, room + 2 * page); }

    // `bytes` of pattern that end at the far fence, or begin at the near one.
    char *take(size_t bytes, bool far) {
        if (bytes + margin > room) std::abort();
        char *from = far ? begin + room - bytes - margin : begin;
        std::memset(from, pattern, bytes + margin);
        return far ? from + margin : from;
    }

    // Whether what take() gave is pattern again, margin and all.
    bool intact(const char *taken, size_t bytes, bool far) const {
        const char *from = far ? taken - margin : taken;
        return from[0] == pattern && std::memcmp(from, from + 1, bytes + margin - 1) == 0;  // all like the first
    }
};

// A copy of `bytes`, or room for them, that ends at a fence.
class Fenced {
    Fence fence;

  public:
    char *at;
    explicit Fenced(size_t bytes) : fence(bytes + 8), at(fence.take(bytes, true)) {}
    Fenced(const char *from, size_t bytes) : Fenced(bytes) { std::memcpy(at, from, bytes); }
};
