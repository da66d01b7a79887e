// Losses: what a row of logits costs against its label, and single log-probabilities.
//
// Everything comes from the row's maximum m, r (the sum of all other terms relative to the maximum's)
// and, unless the label is one class, a second look at the row while it is in the cache:
//   loss      Σ q_c·(-log p_c) = Q·log1p(r) + Σ q_c·(m - x_c), Q = Σ q_c: no term is negative
//   gradient  Q·p_c - q_c; where that cancels, at the maximum, R - Q·r / (1 + r), R = Σ q_c elsewhere
#pragma once

#include "pairs.hpp"
#include "rows.hpp"

namespace stablesoftmax::LEVEL {

// The softmax of a row that has no sum to divide by.
template <class T>
struct Limit : Census {
    template <class Task>
    explicit Limit(Task &task) : Census(task.census()) {}

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

// The weights q of a row's classes, in blocks. Unless it is a label as given, q is rounded: with `paired`,
// what that leaves is kept in `rest`. It would cost a float64 loss up to 1.5 ULP.
template <class Source, bool paired>
struct Weights {
    static constexpr size_t W = Lanes<double>::count;

    const Target &target;
    const Source &source;
    const Pair<double> keep, spread;  // of smoothing
    bool out_of_range = false;        // some q, or what it was made of, is too large or small for pairs
    static constexpr double least = 0x1p-900;
    alignas(64) double q[staged_room];  // a block, and zeros up to a whole vector
    alignas(64) double rest[paired ? staged_room : 1];

    Weights(const Target &target, const Source &source, Pair<double> spread)
        : target(target), source(source), keep(two_sum<double>(broadcast(1.0), broadcast(-target.smoothing))),
          spread(spread) {}
    Weights(const Weights &) = delete;

    const double *chunk(size_t begin, size_t count) {
        labels(begin, count);
        if (target.exact()) return q;
        const bool all_labelled = target.targets;
        Bits<double> outside{};
        for_vectors<double>(count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
            outside |= all_labelled ? weigh<true>(begin, i, lanes) : weigh<false>(begin, i, lanes);
        });
        const size_t label = static_cast<size_t>(target.label) - begin;
        if (target.label >= 0 && label < count) {
            const size_t i = label / W * W;
            store(q + i, Vector<double>{});
            q[label] = 1;
            outside |= weigh<true>(begin, i, count - i < W ? count - i : W);
        }
        out_of_range |= any(outside) || (target.smoothing != 0 && spread.head[0] < least);
        return q;
    }

    // The labels as they are given, and as probabilities.
    const double *labels(size_t begin, size_t count) {
        constexpr decltype(&read_doubles<double>) readers[formats] = {
            read_doubles<float>, read_doubles<double>, read_doubles<float16>, read_doubles<bfloat16>};
        const char *from = target.targets + static_cast<ptrdiff_t>(begin) * target.target_step;
        if (target.targets)
            readers[static_cast<size_t>(target.target_format)](from, target.target_step, q, count);
        else
            std::memset(q, 0, count * sizeof(double));
        const size_t label = static_cast<size_t>(target.label) - begin;
        if (target.label >= 0 && label < count) q[label] = 1;
        std::memset(q + count, 0, (staged_room - block_size) * sizeof(double));
        return q;
    }

    // Make q of a vector of labels, all 0 unless `labelled`; say where it is out of range. What is positive
    // stays so: 0 times an infinite cost is 0, and 1e-200·1e-200 times it is not.
    template <bool labelled>
    INLINE Bits<double> weigh(size_t begin, size_t i, size_t lanes) {
        Pair<double> product{labelled ? load(q + i) : Vector<double>{}, Vector<double>{}};
        if (target.smoothing != 0) {
            const Bits<double> in = included(begin + i, lanes);
            const Pair<double> own{in ? spread.head : Vector<double>{}, in ? spread.tail : Vector<double>{}};
            product = labelled ? plus(times(keep, product), own) : own;
        }
        Bits<double> positive = product.head > 0;
        if (target.weight) {
            const Vector<double> weight = load_lanes(target.weight + begin + i, lanes);
            product = times(product, {weight, Vector<double>{}});
            positive &= weight > 0;
        }
        store(q + i, at_least<double>(product.head, positive ? broadcast(0x1p-1074) : Vector<double>{}));
        if constexpr (paired) store(rest + i, finite_or_zero<double>(product.tail));
        const Bits<double> inside = (product.head > least) & (product.head < 0x1p900);
        return positive & ~(has_fma ? inside : inside & (product.tail == product.tail));
    }

    static INLINE Pair<double> times(Pair<double> a, Pair<double> b) {
        return paired ? multiply(a, b) : Pair<double>{a.head * b.head, Vector<double>{}};
    }
    static INLINE Pair<double> plus(Pair<double> a, Pair<double> b) {
        return paired ? add(a, b) : Pair<double>{a.head + b.head, Vector<double>{}};
    }

    // Which of the lanes take part.
    INLINE Bits<double> included(size_t begin, size_t lanes) const {
        if (!source.is_masked()) return lane_numbers<double>() < static_cast<int64_t>(lanes);
        double in[W] = {};
        for (size_t j = 0; j < lanes; ++j) in[j] = source.included(begin + j);
        return load(in) > 0;
    }
};

template <class Source, class Sink, bool coarse>
struct LossTask : RowTask<Operation::log_softmax, Source, Sink, coarse> {
    using Task = RowTask<Operation::log_softmax, Source, Sink, coarse>;
    using S = typename Task::S;
    using T = typename Task::T;
    using Out = typename Task::Out;
    using Task::length, Task::shift, Task::sink, Task::source, Task::total;

    const Row &row;
    const Target &target;
    const Pair<double> share, spread;  // of the smoothing that one class has, and that much smoothing

    LossTask(Source &from, Sink &to, const Row &row, const Target &target, const Context &context)
        : row(row), target(target), share(share_of_one(from, row, target)),
          spread(multiply(share, {broadcast(target.smoothing), Vector<double>{}})) {
        Task::set(from, to, row.length, context, nullptr, nullptr);
    }

    // All classes that take part have the same.
    static Pair<double> share_of_one(const Source &source, const Row &row, const Target &target) {
        const Vector<double> none{};
        if (target.smoothing == 0) return {none, none};
        size_t included = row.where ? 0 : row.length;
        if (row.where)
            for (size_t i = 0; i < row.length; ++i) included += source.included(i);
        if (included == 0) return {none, none};
        return quotient(broadcast(1.0), none, broadcast(static_cast<double>(included)), none);
    }

    bool is_one_class() const { return !target.targets && target.smoothing == 0; }

    double weight_of_label() const { return target.weight ? target.weight[target.label] : 1; }

    T element(size_t i) { return load_first(source->chunk(i, 1).x, 1)[0]; }

    // Sums over the classes, no term negative: q at the maximum, q below it, q·(m - x).
    struct Mass {
        Pair<double> top, below, shortfall;
        bool out_of_range;
        Pair<double> all() const { return add(top, below); }
    };

    Mass mass() {
        if (is_one_class()) return mass_of_label();
        if constexpr (sizeof(T) == 8)
            if (!target.exact()) return mass_of_classes<true>();
        return mass_of_classes<false>();
    }

    Mass mass_of_label() {
        const Vector<double> max = low_half(total.extreme);
        const Vector<double> x = broadcast(static_cast<double>(element(static_cast<size_t>(target.label))));
        const Pair<double> q{broadcast(weight_of_label()), {}}, none{};
        if (x[0] == max[0] || q.head[0] == 0) return {q, none, none, false};
        return {none, q, multiply(q, two_sum<double>(max, -x)), false};
    }

    template <bool paired>
    Mass mass_of_classes() {
        const Vector<double> max = low_half(total.extreme);
        Weights<Source, paired> weights(target, *source, spread);
        Accumulator<double> top, below, shortfall;
        auto take_in = [&](Vector<double> x, Vector<double> q, Vector<double> rest) __attribute__((always_inline)) {
            const Vector<double> none{};
            Bits<double> at_top = x == max;
            Bits<double> nothing = at_top | (q == 0);  // 0·inf is 0
            if constexpr (sizeof(T) == 4) {
                top.head += at_top ? q : none;
                below.head += at_top ? none : q;
                shortfall.head += nothing ? none : q * (max - x);
            } else {
                Pair<double> product = multiply({q, rest}, two_sum<double>(max, -x));
                top.add(Rounded<double>{at_top ? q : none, at_top ? rest : none});
                below.add(Rounded<double>{at_top ? none : q, at_top ? none : rest});
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
                    take_in(wide.low, load(q + i), Vector<double>{});
                    take_in(wide.high, load(q + i + Lanes<double>::count), Vector<double>{});
                } else {
                    take_in(x, load(q + i), paired ? load(weights.rest + i) : Vector<double>{});
                }
            });
            for (Accumulator<double> *sum : {&top, &below, &shortfall}) sum->settle();
        });
        auto pair = [](const Accumulator<double> &sum) {
            auto along = sum.along();
            return two_sum<double>(along.head, along.rest);
        };
        return {pair(top), pair(below), pair(shortfall), weights.out_of_range};
    }

    // log1p(r), for a product with `all`. Of a small r log1p makes one double, which is one rounding too
    // many where another follows: there it is r - r²/2.
    static Pair<double> logarithm(const Ratio &terms, double all) {
        const Pair<double> r = quotient(broadcast(terms.others), broadcast(terms.others_rest), broadcast(terms.top),
                                        broadcast(terms.top_rest));
        if (all != 1 && r.head[0] < 0x1p-30) return {r.head, r.tail - 0.5 * r.head * r.head};
        return log1p(r.head, r.tail);
    }

    double loss(const Mass &mass, Pair<double> log) {
        const double value = rounded(add(multiply(mass.all(), log), mass.shortfall));
        const bool is_good = value - value == 0 && !mass.out_of_range && !has_faded(mass, value, rounded(log));
        return is_good ? value : loss_of_any_size(log);
    }

    static constexpr double faint = 0x1p-140;  // a logarithm

    // Whether the digits of the logarithm, or of its product, went down below the smallest numbers and q
    // brings them back: [0, -800] has the logarithm 0, and 1e300 times it is 3.7e-48.
    bool has_faded(const Mass &mass, double value, double log) const {
        const double all = rounded(mass.all());
        if constexpr (sizeof(T) == 4) return log < faint && all * static_cast<double>(length) > 0x1p27;
        return (log < 0x1p-900 && all > 1) || (value < 0x1p-900 && all > 0 && !is_one_class());
    }

    // In numbers that neither over- nor underflow. A class of probability 0 costs +inf.
    __attribute__((noinline, cold)) double loss_of_any_size(Pair<double> log) {
        const Scaled logarithm = rounded(log) < faint ? faint_logarithm() : Scaled(log);
        const Scaled max(low_half(total.extreme)[0]), spread = Scaled(share) * Scaled(target.smoothing);
        Weights<Source, false> weights(target, *source, this->spread);
        const Scaled keep(weights.keep);
        Scaled sum(0);
        bool infinite = false;
        for_blocks(length, [&](size_t begin, size_t count) {
            const double *label = weights.labels(begin, count);
            Chunk<S> block = source->chunk(begin, count);
            for (size_t i = 0; i < count && !infinite; ++i) {
                const double weight = target.weight ? target.weight[begin + i] : 1;
                const bool spreads = target.smoothing != 0 && source->included(begin + i);
                if (weight == 0 || (label[i] == 0 && !spreads)) continue;
                const Scaled kept = keep * Scaled(label[i]), q = Scaled(weight) * (spreads ? kept + spread : kept);
                const double x = low_half(load_first(block.x + i, 1))[0];
                infinite = !q.is_zero() && x - x != 0;
                if (!infinite && !q.is_zero()) sum = sum + q * (logarithm + (max + Scaled(-x)));
            }
        });
        return infinite ? std::numeric_limits<double>::infinity() : sum.rounded();
    }

    // log1p(r) for an r so small that it is r: of terms that are 2^lift times as large.
    Scaled faint_logarithm() {
        constexpr int lift = 1020;
        const Vector<double> max = low_half(total.extreme);
        Shift<double> shift = shift_at<double>(max);
        const Rounded<double> top = rounded_term<false, false, double>(shift, max, Vector<double>{});
        shift.exponent -= lift;
        const Exponential<double, false, false> exponential(shift);
        Pair<double> others{};
        Task::each([&](T element, bool) {
            const Vector<double> x = low_half(broadcast(element));
            if (x[0] == max[0] || exponential.is_nothing(x)[0]) return;
            const Rounded<double> e = rounded(exponential.template term<false>(x, Vector<double>{}));
            others = add(others, {e.head, e.rest});
        });
        return Scaled(quotient(others.head, others.tail, top.head, top.rest), -lift);
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

    template <bool one_class>
    void write_gradient(const Mass &mass, const Ratio &terms) {
        const Factor<T> f = factor_of(total.sum);
        const T factor = static_cast<T>(rounded(mass.all()) * target.scale);
        const Exception special = exception(mass, terms, f, factor);
        Task::emit([&](Source &from, Out *y, size_t begin, size_t count) {
            Chunk<S> block = from.chunk(begin, count);
            Weights<Source, false> weights(target, from, spread);
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
        Weights<Source, false> weights(target, *source, spread);
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
        Task::measure(true);  // the gradient is made with the whole sum
        if (!Task::measured) return degenerate();
        const Ratio terms = Task::ratio();
        const Mass q = mass();
        if (row.y) is_one_class() ? write_gradient<true>(q, terms) : write_gradient<false>(q, terms);
        return loss(q, logarithm(terms, rounded(q.all())));
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
            const T found = source.included(i) ? value(load_first(one.x, 1)[0], Source::with_low ? one.low[0] : T(0))
                                               : -std::numeric_limits<T>::infinity();
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
    each([&](T x, T low) {
        T d = x - norm.head[0];
        if constexpr (Source::with_low) d += low - task.low_of_max;  // of [-0.0], + 0 would change the sign
        return d - norm.tail[0];
    });
}

template <class S>
void select_row(const Row &row, const int64_t *index, size_t count, const Context &context) {
    if (row.temperature != 1) {
        StagedSource<double, true> source(row, gather<S, double>);
        return select<S>(source, row, index, count, context);
    }
    if (row.x_step == static_cast<ptrdiff_t>(sizeof(S)) && !row.where) {
        DirectSource<S> source{reinterpret_cast<const S *>(row.x)};
        return select<S>(source, row, index, count, context);
    }
    StagedSource<compute<S>, false> source(row, gather<S, compute<S>>);
    select<S>(source, row, index, count, context);
}

}  // namespace stablesoftmax::LEVEL
