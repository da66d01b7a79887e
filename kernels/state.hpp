// What a sweep over a row leaves behind, and how parts of a row merge.
//
// A sum runs over slots: slot j holds the elements j, j + W, j + 2W, ... of a block, W the lanes of
// the level. Slots are folded by halving, blocks are merged in order. That order is the same
// whether the lanes run along a row or across columns, so a row has the same bits either way.
#pragma once

#include <limits>

#include "exponential.hpp"
#include "kernels.hpp"

namespace stablesoftmax::LEVEL {

constexpr size_t block_size = 4096;  // elements; a multiple of every W

// A running sum, in scalars (X = double) or in double lanes (X = Vector<double>). Of float32 terms
// a double is wide enough; of float64 terms the sum is a pair.
template <class T, class X>
struct Sum;

template <class X>
struct Sum<float, X> {
    X head;
    INLINE X tail() const { return X{}; }
    static INLINE Sum of(X head, X) { return {head}; }
};

template <class X>
struct Sum<double, X> {
    X head, rest;
    INLINE X tail() const { return rest; }
    static INLINE Sum of(X head, X rest) { return {head, rest}; }
};

template <class X>
INLINE Sum<float, X> operator+(Sum<float, X> a, Sum<float, X> b) {
    return {a.head + b.head};
}

template <class X>
INLINE Sum<double, X> operator+(Sum<double, X> a, Sum<double, X> b) {
    X head = a.head + b.head;
    X part = head - a.head;
    X error = (a.head - (head - part)) + (b.head - part);
    return {head, (a.rest + b.rest) + error};
}

// Fold slots that lie in an array: the order of fold_lanes.
template <class Item>
INLINE Item fold(Item *slots, size_t count) {
    for (size_t half = count / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; ++j) slots[j] = slots[j] + slots[j + half];
    return slots[0];
}

template <class T>
struct Limits;

template <>
struct Limits<float> {
    static constexpr float guard = 52;          // the guessed maximum is put at 2^guard,
    static constexpr double ceiling = 0x1p100;  // and the sum must come out below this
    static constexpr float exact = 256;         // up to here exp needs no center
    static constexpr float depth = 69;          // -log(smallest normal·2^24), rounded down
    static constexpr double dominated = 0x1p-16, coarsely_dominated = 0x1p-2;
    static constexpr float others_guard = 27;   // a thousand terms of 2^-155 are a result of 2^-145
    static constexpr float smallest_normal = 0x1p-126f, subnormal_places = 0x1p23f;
    static constexpr float units_high = 0x1p75f, units_low = 0x1p74f;  // 1 / smallest subnormal
};

template <>
struct Limits<double> {
    static constexpr double guard = 117;
    static constexpr double ceiling = 0x1p960;
    static constexpr double exact = 2048;
    static constexpr double depth = 670;
    static constexpr double dominated = 0x1p-30;
    static constexpr double others_guard = 60;
    static constexpr double smallest_normal = 0x1p-1022, subnormal_places = 0x1p52;
    static constexpr double units_high = 0x1p537, units_low = 0x1p537;
};

// One slot a lane. The rests of the terms are summed in T's own precision, and settled into the sum
// before their rounding can tell: after `stretch` terms a slot.
template <class T>
struct Accumulator;

constexpr size_t stretch = 32;

// A term that has been rounded, and what that left.
template <class T>
struct Rounded {
    Vector<T> head, rest;
    INLINE Vector<T> plus_rest(Vector<T> to) const { return to + rest; }
};

template <class T>
INLINE Rounded<T> rounded(Term<T> e) {
    Vector<T> value = e.value();
    return {value, e.plus_rest(e.head - value)};
}

template <>
struct Accumulator<float> {
    Vector<double> low{}, high{};
    Vector<float> rests{};

    template <class E>
    INLINE void add(E e) {
        Wide w = widen(e.head);
        low += w.low;
        high += w.high;
        rests = e.plus_rest(rests);
    }
    // Rounded to a float32, and so is their sum up to the next settling: for results of 16 bits.
    INLINE void add_coarse(Vector<float> value) { rests += value; }

    INLINE void settle() {
        Wide w = widen(rests);
        low += w.low;
        high += w.high;
        rests = Vector<float>{};
    }
    // Whether a slot alone is beyond what a sum may be.
    INLINE bool is_beyond() const {
        return any(~((low < Limits<float>::ceiling) & (high < Limits<float>::ceiling)));
    }
    // The sum over the slots, in every lane.
    INLINE Sum<float, Vector<double>> along() const {
        auto add = [](Vector<double> a, Vector<double> b) { return a + b; };
        auto swap = [](Vector<double> v, auto half) { return swapped<double>(v, half); };
        return {fold_lanes<double>(low + high, swap, add)};
    }
};

template <>
struct Accumulator<double> {
    Vector<double> head{}, rest{};

    template <class E>
    INLINE void add(E e) {
        Pair<double> sum = two_sum<double>(head, e.head);
        head = sum.head;
        rest = e.plus_rest(rest + sum.tail);
    }
    INLINE void settle() {
        Pair<double> sum = two_sum<double>(head, rest);
        head = sum.head;
        rest = sum.tail;
    }
    INLINE bool is_beyond() const { return any(~(head < Limits<double>::ceiling)); }

    INLINE Sum<double, Vector<double>> along() const {
        using Slots = Sum<double, Vector<double>>;
        auto add = [](Slots a, Slots b) { return a + b; };
        auto swap = [](Slots s, auto half) {
            return Slots{swapped<double>(s.head, half), swapped<double>(s.rest, half)};
        };
        return fold_lanes<double>(Slots{head, rest}, swap, add);
    }
};

// The shift that puts `guess` at 2^guard. Elements within 104 (745 in float64) below the maximum
// matter; if |guess| > exact they lie within a factor of two of it, and x - guess is exact
// (Sterbenz). Below, x itself is reduced.
template <class T>
INLINE Shift<T> shift_at(Vector<T> guess) {
    Vector<T> size = guess < 0 ? -guess : guess;
    Bits<T> near = size <= Limits<T>::exact;
    Vector<T> center = near ? Vector<T>{} : guess;
    Vector<T> whole = near ? guess * Reduction<T>::log2e : Vector<T>{};
    constexpr T magic = sizeof(T) == 4 ? T(0x1.8p23) : T(0x1.8p52);
    return {center, ((whole + magic) - magic) - Limits<T>::guard};
}

// A finite element, or 0 where it is not finite.
template <class T>
INLINE Vector<T> finite_or_zero(Vector<T> x) {
    return x - x == 0 ? x : Vector<T>{};
}

// A guess of the maximum: the greatest of the first, the middle and the last element that is finite. It
// cannot be above the maximum; of ascending rows and of descending ones it is the maximum.
template <class T>
INLINE Vector<T> guess_of(Vector<T> first, Vector<T> middle, Vector<T> last) {
    constexpr T nothing = -std::numeric_limits<T>::infinity();
    for (Vector<T> *x : {&first, &middle, &last}) *x = *x - *x == 0 ? *x : broadcast(nothing);
    return finite_or_zero<T>(maximum(maximum(first, middle), last));
}

// The one extreme that an operation needs: the logarithms the maximum, softmax the minimum (whether
// any result may be subnormal).
template <Operation op>
struct Extreme {
    static constexpr bool is_max = op != Operation::softmax;

    template <class T>
    static INLINE Vector<T> none() {
        return broadcast(is_max ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::infinity());
    }
    template <class V>
    static INLINE V of(V value, V so_far) {
        return is_max ? maximum(value, so_far) : minimum(value, so_far);
    }
    template <class T>
    static INLINE Vector<T> along(Vector<T> v) {
        auto swap = [](Vector<T> v, auto half) { return swapped<T>(v, half); };
        return fold_lanes<T>(v, swap, [](Vector<T> a, Vector<T> b) { return of(a, b); });
    }
};

// The sum of a row, or of a part of one; every lane holds the same.
template <Operation op, class T>
struct Partial {
    Vector<T> extreme;
    Sum<T, Vector<double>> sum;
};

template <Operation op, class T>
INLINE Partial<op, T> nothing() {
    return {Extreme<op>::template none<T>(), Sum<T, Vector<double>>{}};
}

template <Operation op, class T>
INLINE Partial<op, T> merge(Partial<op, T> a, Partial<op, T> b) {
    return {Extreme<op>::of(a.extreme, b.extreme), a.sum + b.sum};
}

INLINE Vector<float> rounded(Sum<float, Vector<double>> sum) { return narrow({sum.head, sum.head}); }
INLINE Vector<double> rounded(Sum<double, Vector<double>> sum) { return sum.head; }

// Whether a sum taken at a guess can be trusted: the guess was not above the maximum, nor so far
// below it that something overflowed. A NaN or an infinity in the row shows in the total.
template <class T>
INLINE Bits<T> trusted(Vector<T> total) {
    constexpr T floor = sizeof(T) == 4 ? T(0x1p51) : T(0x1p116);  // 2^guard, less the rounding of the shift
    return (total >= floor) & (total < T(Limits<T>::ceiling));
}

// An element below this may have a subnormal probability, or a product on the way there that has a
// subnormal rest: min - log(sum) < log(smallest normal·2^24), of float64 2^53.
template <class T>
INLINE Vector<T> lowest_normal(Vector<T> guess, Vector<T> total) {
    constexpr int fraction = sizeof(T) == 4 ? 23 : 52, bias = sizeof(T) == 4 ? 127 : 1023;
    constexpr T magic = sizeof(T) == 4 ? T(0x1.8p23) : T(0x1.8p52);
    Bits<T> exponent = (bits_of<T>(total) >> fraction) - bias;
    Vector<T> log2 = from_bits<T>(bits_of<T>(broadcast<T>(magic)) + exponent) - magic;
    return guess + (log2 + 2 - Limits<T>::guard) * T(0.6931472) - Limits<T>::depth;
}

}  // namespace stablesoftmax::LEVEL
