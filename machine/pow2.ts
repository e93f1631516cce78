/** Powers of two by exponent, 0 to 63: a load instead of a call of the power function. */
export const POW2 = Float64Array.from({ length: 64 }, (_, exponent) => 2 ** exponent);
