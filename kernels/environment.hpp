// What a thread needs around it while kernels run.
#pragma once

#include <cstdlib>

#include "kernels.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace stablesoftmax {

// Rounding to nearest and no flushing while a kernel runs, whatever the host has set (torch's
// set_flush_denormal, say); then the host's own again, without the flags that the kernel raised.
class FloatingPoint {
#if defined(__x86_64__)
    unsigned saved = _mm_getcsr();

  public:
    FloatingPoint() { _mm_setcsr(0x1f80); }
    ~FloatingPoint() { _mm_setcsr(saved); }
#elif defined(__aarch64__)
    unsigned long control, flags;

  public:
    FloatingPoint() {
        __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(control), "=r"(flags));
        __asm__ volatile("msr fpcr, %0" : : "r"(0ul));
    }
    ~FloatingPoint() { __asm__ volatile("msr fpcr, %0\n\tmsr fpsr, %1" : : "r"(control), "r"(flags)); }
#endif
};

// A thread's room for the exponentials of one row.
struct Scratch {
    void *memory = std::malloc(cached_bytes);
    ~Scratch() { std::free(memory); }
};

inline void *scratch() {
    thread_local Scratch mine;
    return mine.memory;
}

// How calls are cut: below the first, waking a thread costs more than it does; between two polls at
// most the second, tens of milliseconds.
constexpr size_t elements_per_thread = 1 << 15, elements_per_slice = 1 << 24;

}  // namespace stablesoftmax
