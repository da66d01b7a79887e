// From arrays to kernels: which road a call takes, and how it is cut for the threads.
#pragma once

#include "kernels.hpp"

namespace stablesoftmax {

constexpr int max_dimensions = 64;  // NumPy's

// A batch of rows, in byte strides. The row's own axis is `length` and the four steps.
struct Job {
    Operation operation;
    Format format;
    Undefined undefined;
    const char *x;
    char *y;
    const char *where;        // or null
    const char *temperature;  // doubles, one a row; or null
    size_t length;
    ptrdiff_t x_step, y_step, where_step;
    int dimensions;  // of the batch
    size_t shape[max_dimensions];
    ptrdiff_t x_stride[max_dimensions], y_stride[max_dimensions];
    ptrdiff_t where_stride[max_dimensions], temperature_stride[max_dimensions];
};

// Whether to go on; asked every few milliseconds of a long call.
using Poll = bool (*)();

// False if `poll` stopped it.
bool run(const Kernels &, Job &, Poll poll);

// The first undefined row of a job in C order (kernels.hpp says which those are), or -1.
ptrdiff_t first_undefined(const Kernels &, const Job &);

// A contiguous array seen as (outer, length, inner), the axis in the middle.
struct Slab {
    size_t outer, length, inner;
};

// `run` for a contiguous array; and without its bookkeeping, on the calling thread, for calls of a
// few hundred nanoseconds.
bool run_large(const Kernels &, Operation, Format, const char *x, char *y, Slab, Poll poll);
void run_small(const Kernels &, Operation, Format, const char *x, char *y, Slab);

}  // namespace stablesoftmax
