// The thread pool: a few sleeping threads that share the parts of one call.
#pragma once

#include <cstddef>

namespace stablesoftmax {

// Handles [first, last) of the parts; must not throw.
using Part = void (*)(void *argument, size_t first, size_t last);

// Call `part` over [0, count) in pieces, on the calling thread and at most `threads` - 1 others.
// Returns when all are done. A call from within a part, or while another call has the pool, runs
// on the calling thread alone.
void parallel_for(size_t count, size_t threads, Part part, void *argument);

// Call f(first, last) over pieces of [0, count), likewise.
template <class Function>
void share(size_t count, size_t threads, Function f) {
    auto part = [](void *argument, size_t first, size_t last) { (*static_cast<Function *>(argument))(first, last); };
    parallel_for(count, threads, part, &f);
}

// Make what a first call would make. At import: in a child that was forked while another thread made
// it, it would stay half made.
void prepare_pool();

// How many threads a call may use: from STABLESOFTMAX_NUM_THREADS or the CPUs this process may use.
size_t thread_count();
void set_thread_count(size_t count);

}  // namespace stablesoftmax
