// Sums and products of pairs; and of pairs with an exponent of their own, where doubles end.
#pragma once

#include <cmath>

#include "vector.hpp"

namespace stablesoftmax::LEVEL {

INLINE double rounded(Pair<double> sum) { return sum.head[0] + sum.tail[0]; }

INLINE Pair<double> multiply(Pair<double> a, Pair<double> b) {
    Pair<double> product = two_product<double>(a.head, b.head);
    return {product.head, product.tail + (a.head * b.tail + a.tail * b.head)};
}

INLINE Pair<double> add(Pair<double> a, Pair<double> b) {
    Pair<double> sum = two_sum<double>(a.head, b.head);
    return {sum.head, sum.tail + (a.tail + b.tail)};
}

// value·2^exponent: 1e300·exp(-900) is 1e-91, by way of no double. Right to 2^-100, scalar and slow.
class Scaled {
    static constexpr int of_zero = -(1 << 20);  // below any other exponent

    Pair<double> value;  // the head is 0, or its size lies in [1/2, 1)
    int exponent;

  public:
    explicit Scaled(Pair<double> of, int power = 0) {
        const Pair<double> whole = two_sum<double>(of.head, of.tail);
        int own;
        const double head = std::frexp(whole.head[0], &own);
        value = {broadcast(head), broadcast(std::ldexp(whole.tail[0], -own))};
        exponent = head == 0 ? of_zero : power + own;
    }
    explicit Scaled(double of) : Scaled(Pair<double>{broadcast(of), Vector<double>{}}) {}

    bool is_zero() const { return value.head[0] == 0; }
    double rounded() const { return std::ldexp(LEVEL::rounded(value), exponent); }

    friend Scaled operator*(Scaled a, Scaled b) { return Scaled(multiply(a.value, b.value), a.exponent + b.exponent); }

    friend Scaled operator+(Scaled a, Scaled b) {
        if (a.exponent < b.exponent) return b + a;
        const int down = b.exponent - a.exponent;
        if (down < -900) return a;
        const double factor = std::ldexp(1.0, down);
        return Scaled(add(a.value, {b.value.head * factor, b.value.tail * factor}), a.exponent);
    }
};

}  // namespace stablesoftmax::LEVEL
