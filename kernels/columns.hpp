// Columns: lanes across the contiguous dimension beside the axis.
//
// The arithmetic and the order of every sum are those of rows.hpp, so that a column has the bits of
// the same row.
#pragma once

#include "rows.hpp"

namespace stablesoftmax::LEVEL {

// Slot j of each column; lane c of the vectors is column c.
template <class T>
struct Slot;

template <>
struct Slot<float> {
    Accumulator<float> sum;
    INLINE Sum<float, Vector<double>> low() const { return {sum.low}; }
    INLINE Sum<float, Vector<double>> high() const { return {sum.high}; }
};

template <>
struct Slot<double> {
    Accumulator<double> sum;
    INLINE Sum<double, Vector<double>> low() const { return {sum.head, sum.rest}; }
};

// The sums of one vector of columns.
template <class T>
struct ColumnSums;

template <>
struct ColumnSums<float> {
    Sum<float, Vector<double>> low{}, high{};
    INLINE Vector<float> rounded() const { return narrow({low.head, high.head}); }
    INLINE Factor<float> factor() const { return factor_of(low, high); }
};

template <>
struct ColumnSums<double> {
    Sum<double, Vector<double>> low{};
    INLINE Vector<double> rounded() const { return low.head; }
    INLINE Factor<double> factor() const { return factor_of(low); }
};

template <class T>
INLINE void add_block(ColumnSums<T> &sums, const Slot<T> *slots) {
    constexpr size_t W = Lanes<T>::count;
    Sum<T, Vector<double>> part[W];
    for (size_t j = 0; j < W; ++j) part[j] = slots[j].low();
    sums.low = sums.low + fold(part, W);
    if constexpr (sizeof(T) == 4) {
        for (size_t j = 0; j < W; ++j) part[j] = slots[j].high();
        sums.high = sums.high + fold(part, W);
    }
}

// `vectors` vectors of columns, the last of which may have fewer lanes in use.
template <Operation op, class S, size_t vectors>
struct ColumnTask {
    using T = compute<S>;
    static constexpr size_t W = Lanes<T>::count;
    static constexpr bool coarse = sizeof(S) == 2;
    using Exp = Exponential<T, false, coarse>;

    const char *x;
    ptrdiff_t x_step;
    char *y;
    ptrdiff_t y_step;
    size_t columns, length;
    const Context &context;
    T *exponentials = nullptr;  // length × vectors × W, or null
    Shift<T> shift[vectors]{};
    Vector<T> guess[vectors]{}, extreme[vectors]{};
    ColumnSums<T> sums[vectors]{};
    Bits<T> settled[vectors]{};  // lanes whose sum can be trusted

    INLINE size_t lanes(size_t v) const { return columns - v * W < W ? columns - v * W : W; }

    // Lines are asked for this many rows ahead: the caches' own look-ahead does not follow a stride
    // across pages.
    static constexpr ptrdiff_t rows_ahead = 8;

    INLINE Vector<T> load_x(size_t i, size_t v) const {
        const char *row = x + static_cast<ptrdiff_t>(i) * x_step + v * W * sizeof(S);
        expect_read(row, rows_ahead * x_step);
        return load_lanes(reinterpret_cast<const S *>(row), lanes(v));
    }

    INLINE void store_y(size_t i, size_t v, Vector<T> value) {
        char *row = y + static_cast<ptrdiff_t>(i) * y_step + v * W * sizeof(S);
        expect_write(row, rows_ahead * y_step);
        store_lanes(reinterpret_cast<S *>(row), value, lanes(v));
    }

    template <bool skipping>
    void sweep(ColumnSums<T> *total) {
        Exp exponentials_of[vectors];
        for (size_t v = 0; v < vectors; ++v) exponentials_of[v] = exponential(v);
        for (size_t begin = 0; begin < length; begin += block_size) {
            size_t end = length - begin < block_size ? length : begin + block_size;
            Slot<T> slots[vectors][W] = {};
            for (size_t i = begin; i < end; ++i) {
                for (size_t v = 0; v < vectors; ++v) absorb<skipping>(i, v, exponentials_of[v], slots[v][i % W].sum);
                if ((i + 1) % (stretch * W) == 0 || i + 1 == end) settle(slots);
            }
            for (size_t v = 0; v < vectors; ++v) add_block<T>(total[v], slots[v]);
        }
    }

    static void settle(Slot<T> (&slots)[vectors][W]) {
        for (auto &column : slots)
            for (Slot<T> &slot : column) slot.sum.settle();
    }

    INLINE Exp exponential(size_t v) const { return Exp(shift[v]); }

    template <bool skipping>
    INLINE void absorb(size_t i, size_t v, const Exp &exponential, Accumulator<T> &sum) {
        Vector<T> value = load_x(i, v);
        Term<T> e = exponential.template term<false>(value, Vector<T>{});
        if constexpr (skipping) {
            e = without<T>(e, (value == extreme[v]) | exponential.is_nothing(value));
        } else {
            extreme[v] = Extreme<op>::of(value, extreme[v]);
        }
        if constexpr (op == Operation::softmax)
            if (exponentials) store(exponentials + (i * vectors + v) * W, e.value());
        add<op, coarse, T>(sum, e);
    }

    // One sweep at the guess of each column's first element. False if some column is not settled.
    bool measure() {
        bool all = true;
        for (size_t v = 0; v < vectors; ++v) {
            guess[v] = finite_or_zero<T>(load_x(0, v));
            shift[v] = shift_at<T>(guess[v]);
            extreme[v] = Extreme<op>::template none<T>();
        }
        sweep<false>(sums);
        for (size_t v = 0; v < vectors; ++v) {
            settled[v] = trusted<T>(sums[v].rounded());
            all &= !any(~settled[v]);
        }
        return all;
    }

    template <bool careful>
    void write_softmax() {
        Factor<T> scale[vectors];
        Exp again[vectors];
        for (size_t v = 0; v < vectors; ++v) {
            scale[v] = careful ? sums[v].factor() : complete(sums[v].factor());
            again[v] = exponential(v);
        }
        for (size_t i = 0; i < length; ++i)
            for (size_t v = 0; v < vectors; ++v) {
                Vector<T> e = exponentials
                                  ? load(exponentials + (i * vectors + v) * W)
                                  : again[v].template value<false>(load_x(i, v), Vector<T>{});
                store_y(i, v, careful ? times_carefully<coarse, T>(e, scale[v]) : product<coarse, T>(e, scale[v]));
            }
    }

    // log1p(r) of each column, in double lanes.
    struct Logarithms {
        Pair<double> low, high;
    };

    INLINE Pair<double> logarithm(Sum<T, Vector<double>> all, Sum<T, Vector<double>> without,
                                    Vector<double> top, Vector<double> rest) {
        Others<T> others = others_of<coarse, T>(all, top, rest), exact = lowered<T>(without);
        Vector<double> head = others.dominated ? exact.head : others.head;
        Vector<double> tail = others.dominated ? exact.rest : others.rest;
        return log1p_ratio(head, tail, top, rest);
    }

    bool has_dominated() {
        bool found = false;
        for (size_t v = 0; v < vectors; ++v) {
            Rounded<T> e = top(v);
            if constexpr (sizeof(T) == 4) {
                Wide t = widen(e.head), r = widen(e.rest);
                found |= any(others_of<coarse, T>(sums[v].low, t.low, r.low).dominated);
                found |= any(others_of<coarse, T>(sums[v].high, t.high, r.high).dominated);
            } else {
                found |= any(others_of<coarse, T>(sums[v].low, e.head, e.rest).dominated);
            }
        }
        return found;
    }

    // The maximum's own term.
    INLINE Rounded<T> top(size_t v) {
        return rounded_term<coarse, false, T>(shift[v], extreme[v], Vector<T>{});
    }

    void sweep_others(ColumnSums<T> *without) {
        for (Shift<T> &each : shift) each.exponent -= Limits<T>::others_guard;
        sweep<true>(without);
        for (Shift<T> &each : shift) each.exponent += Limits<T>::others_guard;
    }

    void logarithms(Logarithms *result) {
        ColumnSums<T> without[vectors] = {};
        if (has_dominated()) sweep_others(without);
        for (size_t v = 0; v < vectors; ++v) {
            Rounded<T> e = top(v);
            if constexpr (sizeof(T) == 4) {
                Wide t = widen(e.head), r = widen(e.rest);
                result[v].low = logarithm(sums[v].low, without[v].low, t.low, r.low);
                result[v].high = logarithm(sums[v].high, without[v].high, t.high, r.high);
            } else {
                result[v].low = logarithm(sums[v].low, without[v].low, e.head, e.rest);
            }
        }
    }

    INLINE Pair<T> normalizer_of(size_t v, Logarithms log) {
        if constexpr (sizeof(T) == 4)
            return normalizer(widen(extreme[v]), Wide{log.low.head + log.low.tail, log.high.head + log.high.tail});
        else
            return normalizer(extreme[v], log.low);
    }

    void write_log_softmax() {
        Logarithms log[vectors];
        logarithms(log);
        Pair<T> norm[vectors];
        for (size_t v = 0; v < vectors; ++v) norm[v] = normalizer_of(v, log[v]);
        for (size_t i = 0; i < length; ++i)
            for (size_t v = 0; v < vectors; ++v)
                store_y(i, v, (load_x(i, v) - norm[v].head) - norm[v].tail);
    }

    void write_logsumexp() {
        Logarithms log[vectors];
        logarithms(log);
        for (size_t v = 0; v < vectors; ++v) {
            Pair<T> norm = normalizer_of(v, log[v]);
            Vector<T> result = norm.head + norm.tail;
            for (size_t j = 0; j < lanes(v); ++j)
                store_first(reinterpret_cast<S *>(y + static_cast<ptrdiff_t>(v * W + j) * y_step),
                            broadcast(static_cast<T>(result[j])), 1);
        }
    }

    // One column, as a row.
    void redo(size_t column) {
        ptrdiff_t at = static_cast<ptrdiff_t>(column);
        bool reduces = op == Operation::logsumexp;
        Row one{x + at * static_cast<ptrdiff_t>(sizeof(S)), x_step,
                y + at * (reduces ? y_step : static_cast<ptrdiff_t>(sizeof(S))), y_step,
                nullptr, 0, 1, length};
        row<op, S>(one, context);
    }

    void run() {
        bool all = measure();
        bool none_left = !all && x == y;  // in place: the column must be read before it is written
        if (!none_left) {
            if constexpr (op == Operation::softmax)
                may_be_subnormal() ? write_softmax<true>() : write_softmax<false>();
            else if constexpr (op == Operation::log_softmax)
                write_log_softmax();
            else
                write_logsumexp();
        }
        if (all) return;
        for (size_t c = 0; c < columns; ++c)
            if (none_left || !settled[c / W][c % W]) redo(c);
    }

    bool may_be_subnormal() const {
        bool found = false;
        for (size_t v = 0; v < vectors; ++v)
            found |= any(~(extreme[v] >= lowest_normal<T>(guess[v], sums[v].rounded())));
        return found;
    }
};

template <Operation op, class S, size_t vectors>
void column_tile(const char *x, ptrdiff_t x_step, char *y, ptrdiff_t y_step, size_t columns, size_t length,
                 const Context &context) {
    ColumnTask<op, S, vectors> task{x, x_step, y, y_step, columns, length, context};
    if (op == Operation::softmax && length * vectors * vector_bytes <= cached_bytes)
        task.exponentials = static_cast<compute<S> *>(context.exponentials);
    task.run();
}

template <Operation op, class S>
void columns(const char *x, ptrdiff_t x_step, char *y, ptrdiff_t y_step, size_t count, size_t length,
             const Context &context) {
    constexpr size_t W = Lanes<compute<S>>::count, tile = 4;
    const ptrdiff_t y_item = op == Operation::logsumexp ? y_step : static_cast<ptrdiff_t>(sizeof(S));
    if (length == 0) return write_empty<op, S>(y, y_item, count);
    while (count > 0) {
        size_t now = count >= tile * W ? tile * W : count < W ? count : W;
        auto run = now == tile * W ? column_tile<op, S, tile> : column_tile<op, S, 1>;
        run(x, x_step, y, y_step, now, length, context);
        x += now * sizeof(S);
        y += static_cast<ptrdiff_t>(now) * y_item;
        count -= now;
    }
}

}  // namespace stablesoftmax::LEVEL
