// Segments: rows of unequal length, one after another.
#pragma once

#include "rows.hpp"

namespace stablesoftmax::LEVEL {

// By the same tasks as rows(): a segment has the bits of the same row.
template <Operation op, class S>
void ragged(const char *x, char *y, ptrdiff_t y_step, const size_t *offsets, size_t count, const Context &context) {
    auto span = [=](size_t r) {
        const size_t begin = offsets[r] * sizeof(S);
        char *to = op == Operation::logsumexp ? y + static_cast<ptrdiff_t>(r) * y_step : y + begin;
        return Span<S>{reinterpret_cast<const S *>(x + begin), reinterpret_cast<S *>(to), offsets[r + 1] - offsets[r]};
    };
    each_span<op, S>(count, span, context);
}

}  // namespace stablesoftmax::LEVEL
