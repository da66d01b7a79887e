// Short rows: lanes across rows.
//
// A row of ten elements fills no vector, and its reciprocal costs more than its exponentials. Many such
// rows are turned into columns, computed as those, and turned back; the bits are the same.
#pragma once

#include "columns.hpp"

namespace stablesoftmax::LEVEL {

// Above, rows cost less than turning them. Of 16 bits, the end of a row costs more.
template <class S>
constexpr size_t short_length = sizeof(S) == 2 ? 40 : 28;

// `count` rows into columns, or back: element (r, i) from `from + r·row + i·step`, in bytes.
template <class S>
INLINE void turn(const char *from, ptrdiff_t from_row, ptrdiff_t from_step, char *to, ptrdiff_t to_row,
                 ptrdiff_t to_step, size_t count, size_t length) {
    for (size_t r = 0; r < count; ++r, from += from_row, to += to_row) {
        const char *in = from;
        char *out = to;
        for (size_t i = 0; i < length; ++i, in += from_step, out += to_step) std::memcpy(out, in, sizeof(S));
    }
}

template <Operation op, class S>
void rows(const char *x, ptrdiff_t x_stride, char *y, ptrdiff_t y_stride, size_t count, size_t length,
          const Context &context) {
    constexpr size_t W = Lanes<compute<S>>::count, most = 4 * W;
    constexpr ptrdiff_t item = sizeof(S);
    if (length == 0 || length > short_length<S> || count < W)
        return long_rows<op, S>(x, x_stride, y, y_stride, count, length, context);
    alignas(64) char turned[most * short_length<S> * sizeof(S)], result[most * short_length<S> * sizeof(S)];
    while (count >= W) {
        const size_t now = count < most ? count / W * W : most;
        const ptrdiff_t step = static_cast<ptrdiff_t>(now) * item;
        turn<S>(x, x_stride, item, turned, item, step, now, length);
        if constexpr (op == Operation::logsumexp) {
            columns<op, S>(turned, step, y, y_stride, now, length, context);
        } else {
            columns<op, S>(turned, step, result, step, now, length, context);
            turn<S>(result, item, step, y, y_stride, item, now, length);
        }
        x += static_cast<ptrdiff_t>(now) * x_stride;
        y += static_cast<ptrdiff_t>(now) * y_stride;
        count -= now;
    }
    if (count > 0) long_rows<op, S>(x, x_stride, y, y_stride, count, length, context);
}

}  // namespace stablesoftmax::LEVEL
