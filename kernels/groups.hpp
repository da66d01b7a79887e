// Groups of unequal size along the first axis: by their offsets, or by an id for each row of x.
#pragma once

#include "plan.hpp"

namespace stablesoftmax {

// x is (length, columns), in byte strides. So is y; that of logsumexp is (groups, columns).
struct GroupJob {
    Operation operation;
    Format format;
    const char *x;
    char *y;
    size_t length, columns, groups;
    ptrdiff_t x_step, x_column, y_step, y_column;
};

// Group g is rows offsets[g] to offsets[g + 1]. Out of range: they do not ascend from 0 to length.
Outcome run_offsets(const Kernels &, const GroupJob &, const int64_t *offsets, Poll poll);

// Row i belongs to group ids[i], for int32_t and int64_t. Out of range: an id is not below `groups`.
template <class Id>
Outcome run_ids(const Kernels &, const GroupJob &, const Id *ids, Poll poll);

// The same for ids in any order; those of ascending order are computed faster. y may be x.
template <class Id>
Outcome run_scattered(const Kernels &, const GroupJob &, const Id *ids, Poll poll);

}  // namespace stablesoftmax
