// Losses: what a row of logits costs against its label, and single log-probabilities.
//
// Everything comes from the row's maximum m, r (the sum of all other terms relative to the maximum's)
// and, unless the label is one class, a second look at the row while it is in the cache:
//   loss      Σ q_c·(-log p_c) = Q·log1p(r) + Σ q_c·(m - x_c), Q = Σ q_c: no term is negative
//   gradient  Q·p_c - q_c; where that cancels, at the maximum, R - Q·r / (1 + r), R = Σ q_c elsewhere
#pragma once

#include "rows.hpp"

namespace stablesoftmax::LEVEL {

// The softmax of a row that has no sum to divide by.
template <class T>
struct Limit {
    size_t included = 0, peaks = 0;
    bool has_nan = false;

    template <class Task>
    explicit Limit(Task &task) {
        task.each([this](T x, bool in) {
            included += in;
            peaks += in && x == std::numeric_limits<T>::infinity();
            has_nan |= x != x;
        });
    }

    // 0 or 1; NaN where there is no limit.
    T probability(T x, bool in) const {
        constexpr T infinity = std::numeric_limits<T>::infinity();
        constexpr T nan = std::numeric_limits<T>::quiet_NaN();
        if (has_nan) return nan;
        if (!in || x != (peaks ? infinity : -infinity)) return 0;
        return peaks == 1 ? T(1) : nan;
    }
};

template <class S>
void read_doubles(const char *from, ptrdiff_t step, double *to, size_t count) {
    if (step != static_cast<ptrdiff_t>(sizeof(S))) return gather<S, double>(from, step, to, count);
    const S *contiguous = reinterpret_cast<const S *>(from);
    for_vectors<compute<S>>(count, [=](size_t i, size_t lanes) __attribute__((always_inline)) {
        convert(load_lanes(contiguous + i, lanes), lanes, to + i);
    });
}

// The weights q of a row's classes, in blocks.
template <class Source>
struct Weights {
    const Target &target;
    const Source &source;
    const double spread;
    alignas(64) double q[staged_room];  // a block, and zeros up to a whole vector

    Weights(const Target &target, const Source &source, double spread)
        : target(target), source(source), spread(spread) {}
    Weights(const Weights &) = delete;

    const double *chunk(size_t begin, size_t count) {
        if (target.targets)
            read_targets(begin, count);
        else
            std::memset(q, 0, count * sizeof(double));
        const size_t label = static_cast<size_t>(target.label) - begin;
        if (target.label >= 0 && label < count) q[label] = target.keep;
        if (spread != 0)
            for (size_t i = 0; i < count; ++i) q[i] += source.included(begin + i) ? spread : 0;
        if (target.weight)
            for (size_t i = 0; i < count; ++i) q[i] *= target.weight[begin + i];
        std::memset(q + count, 0, (staged_room - block_size) * sizeof(double));
        return q;
    }

    void read_targets(size_t begin, size_t count) {
        constexpr decltype(&read_doubles<double>) readers[formats] = {
            read_doubles<float>, read_doubles<double>, read_doubles<float16>, read_doubles<bfloat16>};
        const char *from = target.targets + static_cast<ptrdiff_t>(begin) * target.target_step;
        readers[static_cast<size_t>(target.target_format)](from, target.target_step, q, count);
        if (target.keep == 1) return;
        for (size_t i = 0; i < count; ++i) q[i] *= target.keep;
    }
};

INLINE double rounded(Pair<double> sum) { return sum.head[0] + sum.tail[0]; }

INLINE Pair<double> multiply(Pair<double> a, Pair<double> b) {
    Pair<double> product = two_product<double>(a.head, b.head);
    return {product.head, product.tail + (a.head * b.tail + a.tail * b.head)};
}

INLINE Pair<double> add(Pair<double> a, Pair<double> b) {
    Pair<double> sum = two_sum<double>(a.head, b.head);
    return {sum.head, sum.tail + (a.tail + b.tail)};
}

template <class Source, class Sink, bool coarse>
struct LossTask : RowTask<Operation::log_softmax, Source, Sink, coarse> {
    using Task = RowTask<Operation::log_softmax, Source, Sink, coarse>;
    using S = typename Task::S;
    using T = typename Task::T;
    using Out = typename Task::Out;
    using Task::length, Task::shift, Task::sink, Task::source, Task::total;

    const Row &row;
    const Target &target;
    const double spread;

    LossTask(Source &from, Sink &to, const Row &row, const Target &target, const Context &context)
        : row(row), target(target), spread(share(from, row, target)) {
        Task::set(from, to, row.length, context, nullptr, nullptr);
    }

    // The smoothing of one class: all that take part have the same.
    static double share(const Source &source, const Row &row, const Target &target) {
        if (target.smoothing == 0) return 0;
        size_t included = row.where ? 0 : row.length;
        if (row.where)
            for (size_t i = 0; i < row.length; ++i) included += source.included(i);
        return included ? target.smoothing / static_cast<double>(included) : 0;
    }

    bool is_one_class() const { return !target.targets && spread == 0; }

    double weight_of_label() const { return target.keep * (target.weight ? target.weight[target.label] : 1); }

    T element(size_t i) { return load_first(source->chunk(i, 1).x, 1)[0]; }

    // Sums over the classes, no term negative: q at the maximum, q below it, q·(m - x).
    struct Mass {
        Pair<double> top, below, shortfall;
        Pair<double> all() const { return add(top, below); }
    };

    Mass mass() { return is_one_class() ? mass_of_label() : mass_of_classes(); }

    Mass mass_of_label() {
        const Vector<double> max = low_half(total.extreme);
        const Vector<double> x = broadcast(static_cast<double>(element(static_cast<size_t>(target.label))));
        const Pair<double> q{broadcast(weight_of_label()), {}}, none{};
        if (x[0] == max[0] || q.head[0] == 0) return {q, none, none};
        return {none, q, multiply(q, two_sum<double>(max, -x))};
    }

    Mass mass_of_classes() {
        const Vector<double> max = low_half(total.extreme);
        Weights<Source> weights(target, *source, spread);
        Accumulator<double> top, below, shortfall;
        auto take_in = [&](Vector<double> x, Vector<double> q) __attribute__((always_inline)) {
            const Vector<double> none{};
            Bits<double> at_top = x == max;
            Bits<double> nothing = at_top | (q == 0);  // 0·inf is 0
            if constexpr (sizeof(T) == 4) {
                top.head += at_top ? q : none;
                below.head += at_top ? none : q;
                shortfall.head += nothing ? none : q * (max - x);
            } else {
                Pair<double> product = multiply({q, none}, two_sum<double>(max, -x));
                top.add(Rounded<double>{at_top ? q : none, none});
                below.add(Rounded<double>{at_top ? none : q, none});
                shortfall.add(Rounded<double>{nothing ? none : product.head, nothing ? none : product.tail});
            }
        };
        for_blocks(length, [&](size_t begin, size_t count) {
            const double *q = weights.chunk(begin, count);
            Chunk<S> block = source->chunk(begin, count);
            for_vectors<T>(count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
                Vector<T> x = load_lanes(block.x + i, lanes);
                if constexpr (sizeof(T) == 4) {
                    Wide wide = widen(x);
                    take_in(wide.low, load(q + i));
                    take_in(wide.high, load(q + i + Lanes<double>::count));
                } else {
                    take_in(x, load(q + i));
                }
            });
            for (Accumulator<double> *sum : {&top, &below, &shortfall}) sum->settle();
        });
        auto pair = [](const Accumulator<double> &sum) {
            auto along = sum.along();
            return two_sum<double>(along.head, along.rest);
        };
        return {pair(top), pair(below), pair(shortfall)};
    }

    double loss(const Mass &mass, Pair<double> log) {
        const double value = rounded(add(multiply(mass.all(), log), mass.shortfall));
        return value - value == 0 ? value : plain_loss(rounded(log));
    }

    // Where the pairs overflow: 1e300 has no two halves, and a class of probability 0 costs +inf. All is
    // a 2^64th of itself, at which size what the scaling rounds off is nothing.
    __attribute__((noinline, cold)) double plain_loss(double log) {
        constexpr double down = 0x1p-64, up = 0x1p64;
        const Vector<double> max = low_half(total.extreme) * down;
        Weights<Source> weights(target, *source, spread);
        Pair<double> sum{};
        double infinite = 0;
        for_blocks(length, [&](size_t begin, size_t count) {
            const double *q = weights.chunk(begin, count);
            Chunk<S> block = source->chunk(begin, count);
            for (size_t i = 0; i < count; ++i) {
                const Vector<double> x = low_half(load_first(block.x + i, 1)) * down;
                if (q[i] == 0) continue;
                const Pair<double> cost = add(two_sum<double>(max, -x), {broadcast(log * down), Vector<double>{}});
                if (cost.head[0] - cost.head[0] == 0)
                    sum = add(sum, multiply({broadcast(q[i]), Vector<double>{}}, cost));
                else
                    infinite += q[i] * cost.head[0];
            }
        });
        return (rounded(sum) + infinite) * up;
    }

    // An element of the gradient that the loop over all of them does not get right.
    struct Exception {
        size_t place;
        T value;
    };

    // p·factor, without arithmetic on subnormals. A factor above 1 would bring a subnormal p, and what
    // it was rounded by, back among the normal numbers: it goes in before the rounding.
    static INLINE Vector<T> share_of(Vector<T> e, Factor<T> f, T factor) {
        const Vector<T> p = product<coarse, T>(e, f);
        const Bits<T> subnormal = p < Limits<T>::smallest_normal / f.down;
        if (!any(subnormal)) return p * f.down * factor;
        const Vector<T> normal = (subnormal ? broadcast<T>(1) : p) * f.down * factor;
        const Vector<T> tiny = factor > 1 ? times_carefully<coarse, T>(e, {f.head, f.tail, f.down * factor})
                                          : times_carefully<coarse, T>(e, f) * factor;
        return subnormal ? tiny : normal;
    }

    // Q·p - q cancels where q > Q·(1 - p): only at the maximum can that be, and then it is the only one
    // or all is near 1/2. 1 - p is r / (1 + r).
    Exception exception(const Mass &mass, const Ratio &terms, Factor<T> f, T factor) {
        const double all = rounded(mass.all()), others = terms.others, top = terms.top + terms.top_rest;
        const double missing = all * (others / (top + others));
        if (others < top && rounded(mass.top) > missing) {
            const size_t place = is_one_class() ? static_cast<size_t>(target.label) : place_of_maximum();
            return {place, static_cast<T>((rounded(mass.below) - missing) * target.scale)};
        }
        if (!is_one_class()) return {length, 0};
        const size_t label = static_cast<size_t>(target.label);
        Vector<T> e = Exponential<T, false, coarse>(shift).value_or_zero(broadcast(element(label)));
        return {label, share_of(e, f, factor)[0] - static_cast<T>(all * target.scale)};
    }

    size_t place_of_maximum() {
        size_t place = length;
        for_blocks(length, [&](size_t begin, size_t count) {
            if (place < length) return;
            Chunk<S> block = source->chunk(begin, count);
            for_vectors<T>(count, [&](size_t i, size_t lanes) {
                Bits<T> at_top = load_lanes(block.x + i, lanes) == total.extreme;
                if (place < length || !any(at_top)) return;
                for (size_t j = lanes; j-- > 0;)
                    if (at_top[j]) place = begin + i + j;
            });
        });
        return place;
    }

    Factor<T> factor() const {
        if constexpr (sizeof(T) == 4)
            return factor_of(total.sum, total.sum);
        else
            return factor_of(total.sum);
    }

    template <bool one_class>
    void write_gradient(const Mass &mass, const Ratio &terms) {
        const Factor<T> f = factor();
        const T factor = static_cast<T>(rounded(mass.all()) * target.scale);
        const Exception special = exception(mass, terms, f, factor);
        Task::emit([&](Source &from, Out *y, size_t begin, size_t count) {
            Chunk<S> block = from.chunk(begin, count);
            Weights<Source> weights(target, from, spread);
            const double *q = one_class ? nullptr : weights.chunk(begin, count);
            const Exponential<T, false, coarse> exponential(shift);
            const T scale = static_cast<T>(target.scale);
            for_aligned_vectors<T>(y, count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
                expect_read(block.x + i);
                Vector<T> e = exponential.value_or_zero(load_lanes(block.x + i, lanes));
                Vector<T> gradient = share_of(e, f, factor);
                if constexpr (!one_class) gradient -= take(q + i, Vector<T>{}) * scale;
                expect_write(y + i);
                store_lanes(y + i, gradient, lanes);
            });
            if (special.place - begin < count) store_first(y + (special.place - begin), broadcast(special.value), 1);
            if (row.where) clear_excluded(from, y, begin, count);
        });
    }

    static void clear_excluded(const Source &from, Out *y, size_t begin, size_t count) {
        for (size_t i = 0; i < count; ++i)
            if (!from.included(begin + i)) store_first(y + i, Vector<T>{}, 1);
    }

    // Nothing is asked of the row: its gradient is 0, whatever it holds.
    void write_zeros() {
        Task::emit([](Source &, Out *y, size_t, size_t count) {
            for (size_t i = 0; i < count; ++i) store_first(y + i, Vector<T>{}, 1);
        });
    }

    double degenerate() {
        const Limit<T> limit(*this);
        Weights<Source> weights(target, *source, spread);
        double loss = limit.has_nan ? std::numeric_limits<double>::quiet_NaN() : 0;
        Accumulator<double> improbable;  // q where the probability is 0
        auto each = [&](auto use) {
            for_blocks(length, [&](size_t begin, size_t count) {
                const double *q = weights.chunk(begin, count);
                Chunk<S> block = source->chunk(begin, count);
                Out *y = row.y ? sink->chunk(begin) : nullptr;
                for (size_t i = 0; i < count; ++i) {
                    const bool in = source->included(begin + i);
                    use(y ? y + i : y, q[i], limit.probability(load_first(block.x + i, 1)[0], in), in);
                }
                if (row.y) sink->flush(begin, count);
            });
        };
        each([&](Out *, double q, T p, bool) {
            if (p == 0) improbable.add(Rounded<double>{broadcast(q), Vector<double>{}});
            if (q > 0) loss += p == 1 ? 0 : p == 0 ? std::numeric_limits<double>::infinity() : static_cast<double>(p);
        });
        if (!row.y) return loss;
        improbable.settle();
        each([&](Out *y, double q, T p, bool in) {  // Q - q where p is 1
            const double gradient = p == 0 ? -q : p == 1 ? improbable.head[0] : static_cast<double>(p);
            store_first(y, broadcast(in ? static_cast<T>(gradient * target.scale) : T(0)), 1);
        });
        return loss;
    }

    double run() {
        if (target.ignored() || length == 0) {
            if (row.y) write_zeros();
            return 0;
        }
        Task::low_of_max = 0;
        Task::measure();
        if (!Task::measured) return degenerate();
        const Ratio terms = Task::ratio();
        const Mass q = mass();
        if (row.y) is_one_class() ? write_gradient<true>(q, terms) : write_gradient<false>(q, terms);
        const Pair<double> log = log1p_ratio(broadcast(terms.others), broadcast(terms.others_rest), broadcast(terms.top),
                                             broadcast(terms.top_rest));
        return loss(q, log);
    }
};

template <class S>
double loss_row(const Row &row, const Target &target, const Context &context) {
    const ptrdiff_t item = sizeof(S);
    if (!row.where && row.x_step == item && (!row.y || row.y_step == item)) {
        DirectSource<S> source{reinterpret_cast<const S *>(row.x)};
        DirectSink<S> sink{reinterpret_cast<S *>(row.y)};
        return LossTask<DirectSource<S>, DirectSink<S>, sizeof(S) == 2>(source, sink, row, target, context).run();
    }
    using T = compute<S>;
    StagedSource<T, false> source(row, gather<S, T>);
    StagedSink<T> sink(row, scatter<S, T>);
    return LossTask<StagedSource<T, false>, StagedSink<T>, sizeof(S) == 2>(source, sink, row, target, context).run();
}

// ---------------------------------------------------------------------------------------------
// Single log-probabilities: those of log_softmax, bit for bit.

template <class S, class Source>
void select(Source &source, const Row &row, const int64_t *index, size_t count, const Context &context) {
    using Sink = DirectSink<S>;
    using T = compute<typename Source::Storage>;
    Sink none{nullptr};
    RowTask<Operation::log_softmax, Source, Sink, sizeof(S) == 2 && !Source::with_low> task;
    task.set(source, none, row.length, context, nullptr, nullptr);
    auto each = [&](auto value) {
        for (size_t k = 0; k < count; ++k) {
            const size_t i = static_cast<size_t>(index[k]);
            Chunk<typename Source::Storage> one = source.chunk(i, 1);
            const T found = value(load_first(one.x, 1)[0], Source::with_low ? one.low[0] : T(0));
            store_first(reinterpret_cast<S *>(row.y) + k, broadcast(static_cast<compute<S>>(found)), 1);
        }
    };
    task.measure();
    if (!task.measured) {
        const Limit<T> limit(task);
        return each([&](T x, T) {
            const T p = limit.probability(x, true);
            return p == 0 ? -std::numeric_limits<T>::infinity() : p == 1 ? T(0) : p;
        });
    }
    finish_logarithms(&task, 1);
    const Pair<T> norm = task.norm;
    each([&](T x, T low) { return ((x - norm.head[0]) + (low - task.low_of_max)) - norm.tail[0]; });
}

template <class S>
void select_row(const Row &row, const int64_t *index, size_t count, const Context &context) {
    if (row.temperature != 1) {
        StagedSource<double, true> source(row, gather<S, double>);
        return select<S>(source, row, index, count, context);
    }
    if (row.x_step == static_cast<ptrdiff_t>(sizeof(S))) {
        DirectSource<S> source{reinterpret_cast<const S *>(row.x)};
        return select<S>(source, row, index, count, context);
    }
    StagedSource<compute<S>, false> source(row, gather<S, compute<S>>);
    select<S>(source, row, index, count, context);
}

}  // namespace stablesoftmax::LEVEL
