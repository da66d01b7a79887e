// Memory for a call, and indices that belong to the caller.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace stablesoftmax {

struct Free {
    void operator()(void *memory) const { std::free(memory); }
};

template <class T>
using Buffer = std::unique_ptr<T[], Free>;

// Zeros; null where there is no memory.
template <class T>
Buffer<T> buffer_for(size_t count, size_t items = 1) {
    if (count > SIZE_MAX / sizeof(T)) return nullptr;
    const size_t one = 1;  // of nothing, calloc may return null
    void *memory = std::calloc(std::max(items, one), std::max(count * sizeof(T), one));
#if defined(__linux__)
    // As NumPy does for its arrays: 10,000 page faults for 40 MB cost as much as all the rest.
    constexpr size_t worth_it = 1 << 22, page = 4096;
    if (memory && count * sizeof(T) * items >= worth_it) {
        const size_t into_page = reinterpret_cast<uintptr_t>(memory) % page;
        madvise(static_cast<char *>(memory) + (page - into_page), count * sizeof(T) * items - page, MADV_HUGEPAGE);
    }
#endif
    return Buffer<T>(static_cast<T *>(memory));
}

// Offsets and ids belong to the caller, whose other threads may write to them: none is used but one
// that was checked after it was last loaded. Negative numbers become the largest.
template <class Id>
size_t load_index(const Id *from) {
    return static_cast<size_t>(static_cast<ptrdiff_t>(__atomic_load_n(from, __ATOMIC_RELAXED)));
}

}  // namespace stablesoftmax
