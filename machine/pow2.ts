/** Powers of two by exponent, 0 to 63: a load instead of a call of the power function. */
export const POW2 = Float64Array.from({ length: 64 }, (_, exponent) => 2 ** exponent);
/** Their inverses, exact too: to multiply with is cheaper than to divide. */
export const INVERSE_POW2 = POW2.map((power) => 1 / power);
