// Segments: rows of unequal length, one after another.
#pragma once

#include "rows.hpp"

namespace stablesoftmax::LEVEL {

// Two at a time, and by the same tasks, as in rows(): a segment has the bits of the same row.
template <Operation op, class S>
void ragged(const char *x, char *y, ptrdiff_t y_step, const size_t *offsets, size_t count, const Context &context) {
    using T = compute<S>;
    T *room = static_cast<T *>(context.exponentials), *second_room = room ? room + block_size : nullptr;
    auto length = [=](size_t r) { return offsets[r + 1] - offsets[r]; };
    auto from = [=](size_t r) { return x + offsets[r] * sizeof(S); };
    auto to = [=](size_t r) {
        return op == Operation::logsumexp ? y + static_cast<ptrdiff_t>(r) * y_step : y + offsets[r] * sizeof(S);
    };
    auto is_short = [=](size_t r) { return r < count && length(r) - 1 < block_size; };  // and not empty
    for (size_t r = 0; r < count; ++r) {
        if (is_short(r) && is_short(r + 1)) {
            DirectRow<op, S> first(from(r), to(r), length(r), context, room);
            DirectRow<op, S> second(from(r + 1), to(r + 1), length(r + 1), context, second_room);
            first.task.write(first.measured);
            second.task.write(second.measured);
            ++r;
        } else {
            rows<op, S>(from(r), 0, to(r), 0, 1, length(r), context);
        }
    }
}

}  // namespace stablesoftmax::LEVEL
