// Scattered groups: their members lie anywhere, and each comes with the number of its group's entry.
//
// All is computed in double lanes, whatever the format, and summed one member after another: a group's
// results depend on its own members and their order alone.
#pragma once

#include "results.hpp"
#include "staging.hpp"

namespace stablesoftmax::LEVEL {

constexpr double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();

// Sums are of exp(x - max)·2^lift. At first every maximum is taken to be 0, which it is near enough to
// if the sum comes out within these bounds: what has left the doubles then is below 2^-1074 of the sum,
// and the product of the least term and 2^500 / sum is not subnormal.
constexpr double lift = 400, lifted_one = 0x1p400;
constexpr double lift_log = 0x1.1542457337d43p+8;  // 400·log 2
constexpr double least_trusted = 0x1p117, most_trusted = 0x1p560;

using SharedExponential = Exponential<double, true, false>;

INLINE SharedExponential lifted_exponential() {
    return SharedExponential(Shift<double>{Vector<double>{}, broadcast(-lift)});
}

// What the members of a call are computed from: a block of them, widened, and their groups' maxima.
struct MemberBlock {
    static constexpr size_t room = most_members + 16;  // whole vectors of any level
    alignas(64) double x[room], max[room];

    template <class S>
    void load(const Members &members, const GroupSums &sums) {
        gather<S, double>(members.x, sizeof(S), x, members.count);
        if (!sums.max) return;
        for (size_t i = 0; i < members.count; ++i) max[i] = sums.max[members.entry[i]];
        for (size_t i = members.count; i % Lanes<double>::count; ++i) max[i] = 0;
    }

    // x - max, exactly; what a difference that is infinite leaves is of no use.
    INLINE Pair<double> distance(size_t i) const {
        const Pair<double> d = two_sum<double>(stablesoftmax::LEVEL::load(x + i), -stablesoftmax::LEVEL::load(max + i));
        return {d.head, d.head - d.head == 0 ? d.tail : Vector<double>{}};
    }
};

template <class S>
INLINE Sum<compute<S>, double> *sums_of(const GroupSums &sums) {
    return static_cast<Sum<compute<S>, double> *>(sums.sum);
}

// The terms of a block's members.
template <class S>
struct MemberTerms {
    using Total = Sum<compute<S>, double>;
    static constexpr bool with_rest = sizeof(Total) > sizeof(double);
    alignas(64) double head[MemberBlock::room], rest[with_rest ? MemberBlock::room : 1];

    INLINE void set(size_t i, Term<double> e) {
        const Rounded<double> term = rounded(e);
        store(head + i, term.head);
        if constexpr (with_rest) store(rest + i, term.rest);
    }

    void add_to(const GroupSums &sums, const Members &members) const {
        Total *const sum = sums_of<S>(sums);
        for (size_t i = 0; i < members.count; ++i) {
            Total &group = sum[members.entry[i]];
            group = group + Total::of(head[i], with_rest ? rest[i] : 0);
        }
    }
};

// At a maximum of 0; the true ones are recorded if there is room for them. What is beyond the
// exponential's domain comes out beyond what is trusted, or as NaN.
template <class S>
void absorb(const Members &members, const GroupSums &sums) {
    MemberBlock block;
    MemberTerms<S> term;
    gather<S, double>(members.x, sizeof(S), block.x, members.count);
    const SharedExponential exponential = lifted_exponential();
    for (size_t i = 0; i < members.count; i += Lanes<double>::count)
        term.set(i, exponential.template term<false>(load(block.x + i), Vector<double>{}));
    term.add_to(sums, members);
    for (size_t i = 0; sums.max && i < members.count; ++i) {
        double &max = sums.max[members.entry[i]];
        max = block.x[i] <= max || max != max ? max : block.x[i];  // a NaN stays
    }
}

// At the known maxima; the members that are equal to theirs are counted and not summed.
template <class S>
void absorb_again(const Members &members, const GroupSums &sums) {
    MemberBlock block;
    MemberTerms<S> term;
    block.load<S>(members, sums);
    const SharedExponential exponential = lifted_exponential();
    for (size_t i = 0; i < members.count; i += Lanes<double>::count) {
        const Pair<double> d = block.distance(i);
        const Bits<double> at_top = load(block.x + i) == load(block.max + i);
        term.set(i, without<double>(exponential.template term<true>(d.head, d.tail), at_top | exponential.is_nothing(d.head)));
        if (!any(at_top)) continue;
        for (size_t j = 0; j < Lanes<double>::count && i + j < members.count; ++j)
            if (at_top[j]) sums.ties[members.entry[i + j]] += 1;
    }
    term.add_to(sums, members);
}

// ---------------------------------------------------------------------------------------------
// From sums to results

// Factors are kept this much too large until the last.
constexpr double raised = 0x1p500, back_down = 0x1p-500;

INLINE Pair<double> factor_of_group(Sum<float, Vector<double>> sum) {
    return {raised / sum.head, Vector<double>{}};
}

INLINE Pair<double> factor_of_group(Sum<double, Vector<double>> sum) {
    const Reciprocal r = reciprocal(sum);
    const Vector<double> down = r.down * raised;
    return {r.head * down, r.tail * down};
}

// Whether the maxima are wanted from the first, to see where a maximum's own term hides the others: to
// log_softmax of [3, -37] they are all, to its logsumexp in float32 nothing.
template <Operation op, class T>
constexpr bool records_maxima = op == Operation::log_softmax || (op == Operation::logsumexp && sizeof(T) == 8);

// As many groups as there are lanes.
template <Operation op, class T>
struct GroupLanes {
    static constexpr size_t count = Lanes<double>::count;
    static constexpr bool logarithms = op != Operation::softmax;
    using Total = Sum<T, Vector<double>>;

    alignas(vector_bytes) double head[count] = {}, rest[count] = {}, max[count] = {}, ties[count] = {};

    GroupLanes(const GroupSums &sums, size_t first, size_t used) {
        const auto *const sum = static_cast<const Sum<T, double> *>(sums.sum) + first;
        for (size_t j = 0; j < used; ++j) {
            head[j] = sum[j].head, rest[j] = sum[j].tail();
            if (sums.max) max[j] = sums.max[first + j], ties[j] = sums.ties[first + j];
        }
    }

    // Call f(groups, number of the first, how many) for all of them.
    template <class Function>
    static void each(const GroupSums &sums, size_t first, size_t last, Function f) {
        for (size_t k = first; k < last; k += count) {
            const size_t used = last - k < count ? last - k : count;
            f(GroupLanes(sums, k, used), k, used);
        }
    }

    // The sum at 0 without the maximum's own term, and that term.
    Others<T> others(Rounded<double> top) const {
        return others_of<false, T>(Total::of(load(head), load(rest)), top.head, top.rest);
    }
    Rounded<double> top() const {
        return rounded(lifted_exponential().template term<false>(load(max), Vector<double>{}));
    }

    // Whether the sum at 0 will do. It is 0 where there is no member; one of -inf adds a little.
    Bits<double> is_trusted() const {
        const Vector<double> sum = load(head);
        Bits<double> trusted = (sum >= least_trusted) & (sum < most_trusted);
        if constexpr (op == Operation::logsumexp && !records_maxima<op, T>)
            trusted &= (sum <= lifted_one * 0.875) | (sum >= lifted_one * 1.125);  // not m + log1p(r) near 0
        else if constexpr (logarithms)
            trusted &= others(top()).dominated == 0;
        return trusted | (sum == 0);
    }

    // max + log1p(r).
    Pair<double> logarithm() const {
        if constexpr (records_maxima<op, T>) {
            const Rounded<double> own = top();
            const Others<T> others = this->others(own);
            return normalizer(load(max), log1p_ratio(others.head, others.rest, own.head, own.rest));
        }
        return normalizer(broadcast(-lift_log), log1p(load(head), Vector<double>{}));  // 1 is nothing beside it
    }

    // What the results are made with, of a sum at 0: 2^500 / sum, or max + log1p(r).
    Pair<double> settled() const {
        if constexpr (!logarithms) return factor_of_group(Total::of(load(head), load(rest)));
        const Pair<double> result = logarithm();
        const Bits<double> is_empty = load(head) == 0;
        return {is_empty ? broadcast(-infinity) : result.head, is_empty ? Vector<double>{} : result.tail};
    }

    // The same of a sum at the maximum: 2^500 / sum, or log1p(r). Where the maximum is not finite, the
    // probability of a member that is equal to it, or the logarithm of that.
    Pair<double> finished() const {
        const Vector<double> top = load(max), tied = load(ties);
        const Pair<double> sum = two_sum<double>((logarithms ? tied - 1 : tied) * lifted_one, load(head));
        Pair<double> result;
        if constexpr (logarithms)
            result = normalizer(Vector<double>{}, log1p_ratio(sum.head, sum.tail + load(rest), broadcast(lifted_one), Vector<double>{}));
        else
            result = factor_of_group(Total::of(sum.head, sum.tail + load(rest)));
        const Bits<double> limited = top - top != 0, certain = (top == infinity) & (tied == 1);
        const Vector<double> limit = certain ? broadcast(logarithms ? 0.0 : 1.0) : broadcast(nan);
        return {limited ? limit : result.head, limited ? Vector<double>{} : result.tail};
    }
};

template <Operation op, class S>
bool are_trusted(const GroupSums &sums, size_t first, size_t last) {
    using Groups = GroupLanes<op, compute<S>>;
    bool all = true;
    Groups::each(sums, first, last, [&](const Groups &groups, size_t, size_t) { all &= !any(groups.is_trusted() == 0); });
    return all;
}

// Settle the groups whose sum at 0 can be trusted; empty the others' sums, to be summed again at their
// maxima. Meanwhile those that are settled have an infinite one: nothing is added to them.
template <Operation op, class S>
void settle(const GroupSums &sums, size_t first, size_t last) {
    using Groups = GroupLanes<op, compute<S>>;
    Groups::each(sums, first, last, [&](const Groups &groups, size_t k, size_t used) {
        auto *const sum = sums_of<S>(sums) + k;
        const Bits<double> trusted = groups.is_trusted();
        const Pair<double> result = groups.settled();
        for (size_t j = 0; j < used; ++j) {
            sum[j] = trusted[j] ? sum->of(result.head[j], result.tail[j]) : sum->of(0, 0);
            if (sums.max && trusted[j]) sums.max[k + j] = infinity;
        }
    });
}

// Finish the others; what is settled is meant for a maximum of 0.
template <Operation op, class S>
void finish_groups(const GroupSums &sums, size_t first, size_t last) {
    using Groups = GroupLanes<op, compute<S>>;
    Groups::each(sums, first, last, [&](const Groups &groups, size_t k, size_t used) {
        auto *const sum = sums_of<S>(sums) + k;
        const Pair<double> result = groups.finished();
        for (size_t j = 0; j < used; ++j) {
            if (sums.max[k + j] == infinity && sums.ties[k + j] == 0)
                sums.max[k + j] = 0;
            else
                sum[j] = sum->of(result.head[j], result.tail[j]);
        }
    });
}

// e·2^-400 / sum; see times_carefully.
INLINE Vector<double> share(Term<double> e, Pair<double> factor, float) {
    const Vector<double> p = e.value() * factor.head;
    return (p < 0x1p300 ? Vector<double>{} : p) * back_down;  // below the smallest float32's half
}

INLINE Vector<double> share(Term<double> e, Pair<double> factor, double) {
    return times_carefully<false, double>(e.value(), {factor.head, factor.tail, broadcast(back_down)});
}

template <Operation op, class S>
void write_members(const Members &members, const GroupSums &sums, char *y) {
    constexpr bool logarithms = op != Operation::softmax;
    using T = compute<S>;
    MemberBlock block;
    alignas(64) double head[MemberBlock::room], rest[sizeof(T) == 8 ? MemberBlock::room : 1];
    block.load<S>(members, sums);
    for (size_t i = 0; i < members.count; ++i) {
        const Sum<T, double> &group = sums_of<S>(sums)[members.entry[i]];
        head[i] = group.head;
        if constexpr (sizeof(T) == 8) rest[i] = group.rest;
    }
    const SharedExponential exponential = lifted_exponential();
    for (size_t i = 0; i < members.count; i += Lanes<double>::count) {
        const Vector<double> x = load(block.x + i);
        Pair<double> group{load(head + i), Vector<double>{}}, d{x, Vector<double>{}};
        if constexpr (sizeof(T) == 8) group.tail = load(rest + i);
        if (sums.max) d = block.distance(i);
        Vector<double> result = logarithms ? (d.head - group.head) + (d.tail - group.tail)
                                           : share(exponential.template term<true>(d.head, d.tail), group, T());
        if (sums.max) {
            const Vector<double> max = load(block.max + i);
            const Vector<double> limit = max != max ? broadcast(nan) : x == max ? group.head : broadcast(logarithms ? -infinity : 0.0);
            result = max - max != 0 ? limit : result;
        }
        store(block.x + i, result);
    }
    scatter<S, double>(block.x, y, sizeof(S), members.count);
}

// The groups' own results, one after another.
template <class S>
void write_logsumexp(const GroupSums &sums, size_t first, size_t count, char *y) {
    alignas(64) double max[MemberBlock::room] = {}, head[MemberBlock::room] = {}, rest[MemberBlock::room] = {};
    for (size_t k = 0; k < count; ++k) {
        const Sum<compute<S>, double> &log = sums_of<S>(sums)[first + k];
        max[k] = sums.max ? sums.max[first + k] : 0, head[k] = log.head, rest[k] = log.tail();
    }
    for (size_t k = 0; k < count; k += Lanes<double>::count) {
        const Vector<double> top = load(max + k);
        const Pair<double> sum = two_sum<double>(top, load(head + k));
        const Vector<double> whole = sum.head - sum.head == 0 ? sum.head + (sum.tail + load(rest + k)) : sum.head;
        store(head + k, top - top == 0 ? whole : top);
    }
    scatter<S, double>(head, y, sizeof(S), count);
}

}  // namespace stablesoftmax::LEVEL
