// Products with the Jacobians of softmax, log_softmax and logsumexp, of rows x and vectors v.
//
// All but two need the mean of v under p = softmax(x / T). It is s + c, s being the v at the largest x
// and c the mean of v - s: with x = [40, 0] and v = [1, 3] the mean is 1 + 8.5e-18, which no double
// holds. The sums of exp(x) and of exp(x)·(v - s) take the same rounded exponentials, so that an error of
// one of them counts no more than its distance from the mean.
#pragma once

#include "layouts.hpp"

namespace stablesoftmax::LEVEL {

// exp(x / T), before the sum is divided out. `careful`: infinite x and v are heeded, and a temperature; of any
// other row the bits are the same.
template <class C, bool careful>
struct Shares {
    const bool tempered;
    Vector<C> max, peak;  // the maximum, and where it is infinite 0
    Doubles<C> inverse, inverse_rest, lower, temperature;
    Bits<C> at_one{};  // rows of temperature 1
    Exponential<C, false, false> exponential, tempered_exponential;

    INLINE Shares(Vector<C> max, Doubles<C> temperature, bool tempered)
        : tempered(careful && tempered), max(max), temperature(temperature) {
        peak = careful ? finite_or_zero<C>(max) : max;
        exponential = at_guard(peak);
        if (!this->tempered) return;
        tempered_exponential = at_guard(Vector<C>{});
        const Vector<double> yes = broadcast(1.0), no{};
        at_one = single(Doubles<C>::of([&](size_t h) { return temperature.part[h] == 1 ? yes : no; })) == 1;
        for (size_t h = 0; h < halves<C>; ++h) invert(h);
    }

    static INLINE Exponential<C, false, false> at_guard(Vector<C> peak) {
        Shift<C> shift = shift_at<C>(peak);
        shift.exponent -= exponential_guard<C> - Limits<C>::guard;
        return Exponential<C, false, false>(shift);
    }

    // As in StagedSource: 1e308 - -1e308 would overflow before its division by 3, and so would 1 / 1e-320.
    INLINE void invert(size_t h) {
        const Vector<double> t = temperature.part[h], one = broadcast(1.0);
        const Bits<double> limit = (t == 0) | (t == std::numeric_limits<double>::infinity());
        lower.part[h] = t > 1 ? one * 0.25 : t < 0x1p-900 ? one * 0x1p200 : one;
        const Vector<double> lifted = limit ? one : t * lower.part[h];
        inverse.part[h] = 1 / lifted;
        const Pair<double> back = two_product<double>(inverse.part[h], lifted);
        inverse_rest.part[h] = ((1 - back.head) - back.tail) * inverse.part[h];
    }

    // A row with one +inf is the row of 0 and -inf that it stands for.
    INLINE Vector<C> seen(Vector<C> x) const {
        constexpr C infinity = std::numeric_limits<C>::infinity();
        if constexpr (!careful) return x;
        const Vector<C> limit = x == infinity ? Vector<C>{} : x - x == 0 ? broadcast(-infinity) : x;
        return max == infinity ? limit : x;
    }

    // exp(x / T), at the scale of the guard; exactly 0 where it is as good as 0.
    INLINE Vector<C> operator()(Vector<C> given) const {
        const Vector<C> x = seen(given);
        if (!careful || !tempered) return exponential.value_or_zero(x);
        Vector<C> head, low;
        divide(x, &head, &low);
        const Bits<C> nothing = tempered_exponential.is_nothing(head);
        const Vector<C> e = nothing ? Vector<C>{} : tempered_exponential.template value<true>(head, low);
        return any(at_one) ? (at_one ? exponential.value_or_zero(x) : e) : e;
    }

    // (x - max) / T. At T = 0 the maxima alone are left, at infinity all that is finite is the same.
    INLINE void divide(Vector<C> x, Vector<C> *head, Vector<C> *low) const {
        constexpr double infinity = std::numeric_limits<double>::infinity();
        const Doubles<C> wide = doubled(x), high = doubled(peak);
        Doubles<C> quotient, rest;
        for (size_t h = 0; h < halves<C>; ++h) {
            const Vector<double> t = temperature.part[h], scale = lower.part[h];
            const Pair<double> d = two_sum<double>(wide.part[h] * scale, -(high.part[h] * scale));
            const Pair<double> q = two_product<double>(d.head, inverse.part[h]);
            Vector<double> tail = q.tail + (d.head * inverse_rest.part[h] + d.tail * inverse.part[h]);
            tail = tail - tail == 0 ? tail : Vector<double>{};
            Vector<double> value = d.head == 0 ? d.head : q.head;  // 0 · inf
            const Bits<double> cold = (t == 0) & (d.head < 0), hot = (t == infinity) & (d.head - d.head == 0);
            value = cold ? broadcast(-infinity) : hot ? Vector<double>{} : value;
            quotient.part[h] = value;
            rest.part[h] = cold | hot ? Vector<double>{} : tail;
        }
        *head = single(quotient);
        const Doubles<C> rounded = doubled(*head);
        for (size_t h = 0; h < halves<C>; ++h) {
            const Vector<double> left = (quotient.part[h] - rounded.part[h]) + rest.part[h];
            rest.part[h] = left - left == 0 ? left : Vector<double>{};
        }
        *low = single(rest);
    }
};

// One sweep to the maximum, one to the sums, one to the results.
template <class C, Product product, class Layout>
struct Multiplication {
    static constexpr bool takes_mean =
        product == Product::softmax || product == Product::log_softmax || product == Product::logsumexp;
    static constexpr bool takes_sum = product == Product::log_softmax_transposed;  // of v, but for the top

    Layout &layout;
    C *kept;  // the exponentials, or null
    Vector<C> max{};
    Doubles<C> s{}, temperature{};
    // What the moment of a row is put down by: 2^500·1e300 is no double.
    Doubles<C> down = Doubles<C>::all(1);

    Multiplication(Layout &layout, C *kept) : layout(layout), kept(kept) {}

    // v - s, and what its rounding left.
    struct Gap {
        Doubles<C> head, tail;
    };
    template <bool careful>
    static INLINE Gap gap_of(Doubles<C> v, Doubles<C> s) {
        Gap gap{};
        for (size_t h = 0; h < halves<C>; ++h) {
            gap.head.part[h] = v.part[h] - s.part[h];
            if constexpr (Running<C>::paired) {
                gap.tail.part[h] = two_sum<double>(v.part[h], -s.part[h]).tail;
                if constexpr (careful) gap.tail.part[h] = finite_or_zero<double>(gap.tail.part[h]);
            }
        }
        return gap;
    }
    // The same, put down; and where p is 0 nothing.
    template <bool careful>
    static INLINE Gap counted(Doubles<C> v, Doubles<C> s, Doubles<C> e, Doubles<C> down) {
        Gap gap = gap_of<careful>(v, s);
        if constexpr (careful)
            for (size_t h = 0; h < halves<C>; ++h)
                for (Vector<double> *part : {&gap.head.part[h], &gap.tail.part[h]})
                    *part = e.part[h] == 0 ? Vector<double>{} : *part * down.part[h];
        return gap;
    }

    // False: something was infinite or NaN, and nothing has been written.
    template <bool careful>
    bool compute(bool tempered) {
        Vector<C> high = broadcast(-std::numeric_limits<C>::infinity());
        layout.sweep_x([&](Vector<C> x) __attribute__((always_inline)) { high = maximum(x, high); });
        max = layout.fold(high, [](Vector<C> a, Vector<C> b) { return maximum(a, b); });
        if (!careful && any(max - max != 0)) return false;
        layout.find_top(max);
        s = layout.vector_at_top();
        temperature = layout.temperature();
        return sum<careful>(Shares<C, careful>(max, temperature, tempered));
    }

    template <bool careful>
    bool sum(const Shares<C, careful> share_of) {
        Running<C> shares[Layout::slots] = {}, moments[Layout::slots] = {};
        const Doubles<C> middle = s, lower = down;
        C one[Lanes<C>::count], *const room = kept ? kept : one;
        const size_t step = kept ? Lanes<C>::count : 0;
        layout.sweep([&](size_t slot, size_t at, Vector<C> x, Doubles<C> v, Bits<C> top) __attribute__((always_inline)) {
            const Vector<C> e = share_of(x);
            store(room + at * step, e);
            if constexpr (takes_sum) {
                shares[slot].add(doubled(top ? Vector<C>{} : e));
                moments[slot].add(without(v, top));
            } else {
                const Doubles<C> wide = load_doubled(room + at * step);
                shares[slot].add(wide);
                if constexpr (takes_mean) {
                    const Gap gap = counted<careful>(v, middle, wide, lower);
                    moments[slot].add_product(wide, gap.head, gap.tail);
                }
            }
        });
        const Running<C> share = layout.folded(shares), moment = layout.folded(moments);
        if constexpr (!careful) {
            if (!finite(share.head) || !finite(moment.head) || !finite(s)) return false;
        } else if (takes_mean && put_down(moment.head)) {
            return sum<careful>(share_of);
        }
        finish(share_of, share, moment);
        return true;
    }

    // Whether the sums are to be taken anew. Of rows with infinite v they stay what they are.
    bool put_down(Doubles<C> moment) {
        bool anew = false;
        for (size_t h = 0; h < halves<C>; ++h) {
            const Bits<double> beyond = (moment.part[h] - moment.part[h] != 0) & (down.part[h] == 1);
            down.part[h] = beyond ? broadcast(0x1p-520) : down.part[h];
            anew |= any(beyond);
        }
        return anew;
    }

    // What the results are made from.
    struct Made {
        Doubles<C> inverse;      // of the sum of the exponentials
        Doubles<C> mean, tail;   // of v - s; or the sum of v
        Doubles<C> at_top;       // log_softmax_transposed there
        Bits<C> undefined;       // rows that are NaN: of a NaN, or of nothing but -inf
        Bits<C> torn;            // rows of several +inf, which are NaN there
        Bits<C> empty;           // rows of which nothing takes part
    };

    template <bool careful>
    void finish(const Shares<C, careful> &share_of, Running<C> share, Running<C> moment) {
        Made made{};
        const Doubles<C> top = doubled(share_of(max));
        for (size_t h = 0; h < halves<C>; ++h) {
            Pair<double> sum = two_sum<double>(share.head.part[h], share.rest.part[h]);
            const Vector<double> others = sum.head;
            if constexpr (takes_sum) sum = two_sum<double>(sum.head, top.part[h]);
            const Vector<double> inverse = 1 / sum.head;
            // Divided by T at once: a subnormal product would not be right any more.
            made.inverse.part[h] = product == Product::softmax ? 1 / (sum.head * divisor(h)) : inverse;
            if constexpr (takes_mean) {
                const Pair<double> mean = quotient(moment.head.part[h], moment.rest.part[h], sum.head * down.part[h],
                                                   sum.tail * down.part[h]);
                made.mean.part[h] = mean.head;
                made.tail.part[h] = finite_or_zero<double>(mean.tail);
            } else if constexpr (takes_sum) {
                const Vector<double> rest = finite_or_zero<double>(moment.rest.part[h]), v = s.part[h];
                const Vector<double> all_others = moment.head.part[h] + rest;
                const Pair<double> all = two_sum<double>(moment.head.part[h], v);
                made.mean.part[h] = all.head + finite_or_zero<double>(all.tail + rest);
                const Vector<double> p = top.part[h] * inverse;
                made.at_top.part[h] = v * (others * inverse) - p * all_others;
            }
        }
        if constexpr (careful) find_undefined(made, share, top);
        if constexpr (product == Product::logsumexp) {
            write_mean<careful>(made);
        } else {
            emit(share_of, made);
        }
    }

    // T; at 0 the limit is constant.
    INLINE Vector<double> divisor(size_t h) const {
        const Vector<double> t = temperature.part[h];
        return t == 0 ? broadcast(std::numeric_limits<double>::infinity()) : t;
    }

    void find_undefined(Made &made, Running<C> share, Doubles<C> top) {
        constexpr C infinity = std::numeric_limits<C>::infinity();
        const Vector<C> sum = single(share.head);
        const Vector<C> others = single(takes_sum ? share.head : less(share.head, times(top, 1.5)));
        const Bits<C> several = others > 0;
        const Bits<C> bottom = max == -infinity;
        if (any(bottom)) made.empty = bottom & ~layout.any_included();
        made.torn = (max == infinity) & several;
        made.undefined = ((sum != sum) | bottom) & ~made.empty;
        if (product == Product::log_softmax || product == Product::logsumexp) made.undefined |= made.torn;
    }

    template <bool careful>
    void write_mean(const Made &made) {
        Doubles<C> value;
        for (size_t h = 0; h < halves<C>; ++h) {
            const Pair<double> sum = two_sum<double>(s.part[h], made.mean.part[h]);
            value.part[h] = sum.head + finite_or_zero<double>(sum.tail + made.tail.part[h]);
        }
        layout.write(settled<careful>(single(value), made));
    }

    template <bool careful>
    INLINE Vector<C> settled(Vector<C> y, const Made &made) const {
        if constexpr (!careful) return y;
        y = made.undefined ? broadcast(std::numeric_limits<C>::quiet_NaN()) : y;
        return made.empty ? Vector<C>{} : y;
    }

    template <bool careful>
    void emit(const Shares<C, careful> share_of, const Made made) {
        const Doubles<C> middle = s;
        const C *const from = kept;
        layout.emit(!kept, [&](size_t at, Vector<C> x, Doubles<C> v, Bits<C> top) __attribute__((always_inline)) {
            const Doubles<C> e = from ? load_doubled(from + at * Lanes<C>::count) : doubled(share_of(x));
            Doubles<C> y = result<careful>(e, v, middle, made);
            if constexpr (takes_sum) y = chosen(top, made.at_top, y);
            if (product != Product::softmax && share_of.tempered)
                for (size_t h = 0; h < halves<C>; ++h) y.part[h] /= divisor(h);
            const Vector<C> value = settled<careful>(single(y), made);
            if constexpr (!careful) return value;
            return made.torn & (single(e) != 0) ? broadcast(std::numeric_limits<C>::quiet_NaN()) : value;
        });
    }

    template <bool careful>
    static INLINE Doubles<C> result(Doubles<C> e, Doubles<C> v, Doubles<C> s, const Made &made) {
        const Gap gap = gap_of<careful>(v, s);
        return Doubles<C>::of([&](size_t h) __attribute__((always_inline)) {
            Vector<double> y = v.part[h];  // what p is multiplied by
            if constexpr (takes_mean) y = (gap.head.part[h] - made.mean.part[h]) + (gap.tail.part[h] - made.tail.part[h]);
            if constexpr (product == Product::log_softmax) return y;
            if constexpr (takes_sum) y = made.mean.part[h];
            Vector<double> inverse = made.inverse.part[h];
            if constexpr (Running<C>::paired) {
                const Bits<double> large = (y > 0x1p500) | (y < -0x1p500);
                const Vector<double> one = broadcast(1.0);
                y *= large ? one * 0x1p-520 : one;
                inverse *= large ? one * 0x1p520 : one;
            }
            y = e.part[h] * y * inverse;
            if constexpr (careful) y = e.part[h] == 0 ? Vector<double>{} : y;
            return takes_sum ? v.part[h] - y : y + 0.0;  // p·v is 0 where p is, and not -0
        });
    }

    static INLINE Doubles<C> chosen(Bits<C> mask, Doubles<C> yes, Doubles<C> no) {
        const Doubles<C> one = doubled(mask ? broadcast(C{1}) : Vector<C>{});
        return Doubles<C>::of([&](size_t h) __attribute__((always_inline)) {
            return one.part[h] != 0 ? yes.part[h] : no.part[h];
        });
    }
    static INLINE Doubles<C> without(Doubles<C> v, Bits<C> mask) { return chosen(mask, Doubles<C>{}, v); }
    static INLINE Doubles<C> times(Doubles<C> v, double factor) {
        return Doubles<C>::of([&](size_t h) __attribute__((always_inline)) { return v.part[h] * factor; });
    }
    static INLINE Doubles<C> less(Doubles<C> a, Doubles<C> b) {
        return Doubles<C>::of([&](size_t h) __attribute__((always_inline)) { return a.part[h] - b.part[h]; });
    }
    static bool finite(Doubles<C> v) {
        Bits<double> beyond{};
        for (Vector<double> part : v.part) beyond |= part - part != 0;
        return !any(beyond);
    }
};

template <Product product, class C>
void multiply_rows(const ProductRows &rows, const Ends<C> &ends, size_t count, size_t item, const Context &context) {
    constexpr size_t W = Lanes<C>::count;
    const size_t room = context.exponentials ? cached_bytes / sizeof(C) : 0;
    auto *memory = static_cast<C *>(context.exponentials);
    if (runs_across(rows, count, item)) {
        C *kept = rows.length * W <= room ? memory : nullptr;
        for (size_t first = 0; first < count; first += W) {
            Across<C> layout(rows, ends, first, count - first < W ? count - first : W);
            Multiplication<C, product, Across<C>>(layout, kept).template compute<true>(rows.temperature);
        }
        return;
    }
    C *kept = rows.length + W <= room ? memory : nullptr;
    const bool direct = Along<C, true>::serves(rows, ends, product == Product::logsumexp);
    for (size_t index = 0; index < count; ++index) {
        if (direct && rows.temperature_of(index) == 1) {
            Along<C, true> layout(rows, ends, index);
            if (Multiplication<C, product, Along<C, true>>(layout, kept).template compute<false>(false)) continue;
        }
        Along<C, false> layout(rows, ends, index);
        const bool tempered = layout.row.temperature != 1;
        Multiplication<C, product, Along<C, false>>(layout, kept).template compute<true>(tempered);
    }
}

template <Product product, class S>
void multiply(const ProductRows &rows, size_t count, const Context &context) {
    multiply_rows<product, compute<S>>(rows, ends_for<S>(rows.v_format), count, sizeof(S), context);
}

}  // namespace stablesoftmax::LEVEL
