package dev.baton.grammar;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Numbers between bounds, digit by digit. Bounded numbers are written without an exponent.
final class NumberRanges {
    private static final Expr DIGIT = Expr.chars('0', '9');
    private static final Expr DIGITS = Expr.star(DIGIT);
    private static final Expr MINUS = Expr.literal("-");
    private static final Expr ANY_FRACTION = Expr.optional(Expr.seq(Expr.literal("."), Expr.plus(DIGIT)));
    private static final Expr NOT_ZERO = Expr.seq(Expr.star(Expr.literal("0")), Expr.chars('1', '9'), DIGITS);

    private NumberRanges() {}

    /// An end of a range; a missing one is null.
    record Bound(BigDecimal value, boolean isInclusive) {
        Bound negated() {
            return new Bound(value.negate(), isInclusive);
        }
    }

    static Expr integers(@Nullable Bound lower, @Nullable Bound upper) {
        BigInteger low = null;
        if (lower != null) {
            low = lower.value().setScale(0, RoundingMode.CEILING).toBigIntegerExact();
            if (!lower.isInclusive() && lower.value().compareTo(new BigDecimal(low)) == 0) {
                low = low.add(BigInteger.ONE);
            }
        }
        BigInteger high = null;
        if (upper != null) {
            high = upper.value().setScale(0, RoundingMode.FLOOR).toBigIntegerExact();
            if (!upper.isInclusive() && upper.value().compareTo(new BigDecimal(high)) == 0) {
                high = high.subtract(BigInteger.ONE);
            }
        }
        if (low == null && high == null) {
            return JsonText.INTEGER;
        }
        List<Expr> options = new ArrayList<>();
        if (low == null || low.signum() < 0) {
            BigInteger nearest = high == null || high.signum() >= 0 ? BigInteger.ONE : high.negate();
            options.add(Expr.seq(MINUS, naturals(nearest, low == null ? null : low.negate())));
        }
        if (high == null || high.signum() >= 0) {
            options.add(naturals(low == null || low.signum() < 0 ? BigInteger.ZERO : low, high));
        }
        return Expr.alt(options);
    }

    /// Natural numbers from `low` to `high`, without leading zeros.
    private static Expr naturals(BigInteger low, @Nullable BigInteger high) {
        List<Expr> options = new ArrayList<>();
        String first = low.toString();
        if (high == null) {
            options.add(sameLength(first, "9".repeat(first.length())));
            options.add(Expr.seq(Expr.chars('1', '9'), Expr.repeat(DIGIT, first.length(), Expr.Repeat.UNBOUNDED)));
            return Expr.alt(options);
        }
        String last = high.toString();
        for (int length = first.length(); length <= last.length(); length++) {
            String from = length == first.length() ? first : "1" + "0".repeat(length - 1);
            String to = length == last.length() ? last : "9".repeat(length);
            if (from.compareTo(to) <= 0) {
                options.add(sameLength(from, to));
            }
        }
        return Expr.alt(options);
    }

    private static Expr sameLength(String low, String high) {
        if (low.isEmpty()) {
            return Expr.EMPTY;
        }
        int rest = low.length() - 1;
        if (low.chars().allMatch(c -> c == '0') && high.chars().allMatch(c -> c == '9')) {
            return Expr.repeat(DIGIT, rest + 1, rest + 1);
        }
        char first = low.charAt(0);
        char last = high.charAt(0);
        String lowRest = low.substring(1);
        String highRest = high.substring(1);
        if (first == last) {
            return Expr.seq(digit(first, first), sameLength(lowRest, highRest));
        }
        List<Expr> options = new ArrayList<>();
        options.add(Expr.seq(digit(first, first), sameLength(lowRest, "9".repeat(rest))));
        if (last - first > 1) {
            options.add(Expr.seq(digit(first + 1, last - 1), Expr.repeat(DIGIT, rest, rest)));
        }
        options.add(Expr.seq(digit(last, last), sameLength("0".repeat(rest), highRest)));
        return Expr.alt(options);
    }

    static Expr decimals(@Nullable Bound lower, @Nullable Bound upper) {
        if (lower == null && upper == null) {
            return JsonText.NUMBER;
        }
        Bound zero = new Bound(BigDecimal.ZERO, true);
        List<Expr> options = new ArrayList<>();
        if (lower == null || lower.value().signum() < 0) {
            Bound nearest = upper == null || upper.value().signum() > 0 ? zero : upper.negated();
            options.add(Expr.seq(MINUS, notNegative(nearest, lower == null ? null : lower.negated())));
        }
        if (upper == null || upper.value().signum() >= 0) {
            options.add(notNegative(lower == null || lower.value().signum() < 0 ? zero : lower, upper));
        }
        return Expr.alt(options);
    }

    private static Expr notNegative(Bound lower, @Nullable Bound upper) {
        if (upper != null && lower.value().compareTo(upper.value()) > 0) {
            return Expr.NOTHING;
        }
        BigInteger low = lower.value().toBigInteger();
        String lowFraction = fraction(lower.value());
        if (upper == null) {
            return Expr.alt(
                    Expr.seq(Expr.literal(low.toString()), fractionAtLeast(lowFraction, lower.isInclusive())),
                    Expr.seq(naturals(low.add(BigInteger.ONE), null), ANY_FRACTION));
        }
        BigInteger high = upper.value().toBigInteger();
        String highFraction = fraction(upper.value());
        if (low.equals(high)) {
            return Expr.seq(
                    Expr.literal(low.toString()),
                    fractionBetween(lowFraction, lower.isInclusive(), highFraction, upper.isInclusive()));
        }
        List<Expr> options = new ArrayList<>();
        options.add(Expr.seq(Expr.literal(low.toString()), fractionAtLeast(lowFraction, lower.isInclusive())));
        if (high.subtract(low).compareTo(BigInteger.ONE) > 0) {
            options.add(Expr.seq(naturals(low.add(BigInteger.ONE), high.subtract(BigInteger.ONE)), ANY_FRACTION));
        }
        Expr below = fractionBetween("", true, highFraction, upper.isInclusive());
        options.add(Expr.seq(Expr.literal(high.toString()), below));
        return Expr.alt(options);
    }

    /// The digits behind the point, without zeros at the end.
    private static String fraction(BigDecimal value) {
        String plain = value.stripTrailingZeros().toPlainString();
        int point = plain.indexOf('.');
        return point < 0 ? "" : plain.substring(point + 1);
    }

    private static Expr fractionAtLeast(String low, boolean inclusive) {
        if (low.isEmpty() && inclusive) {
            return ANY_FRACTION;
        }
        return Expr.seq(Expr.literal("."), atLeast(low, inclusive));
    }

    /// Digits that as a fraction are at least `low`.
    private static Expr atLeast(String low, boolean inclusive) {
        if (low.isEmpty()) {
            return inclusive ? DIGITS : NOT_ZERO;
        }
        char first = low.charAt(0);
        Expr same = Expr.seq(digit(first, first), atLeast(low.substring(1), inclusive));
        return first == '9' ? same : Expr.alt(same, Expr.seq(digit(first + 1, '9'), DIGITS));
    }

    private static Expr fractionBetween(String low, boolean lowInclusive, String high, boolean highInclusive) {
        Expr digits = Expr.seq(Expr.literal("."), between(low, lowInclusive, high, highInclusive, false));
        boolean zero = low.isEmpty() && lowInclusive && (!high.isEmpty() || highInclusive);
        return zero ? Expr.optional(digits) : digits;
    }

    /// Digits that as a fraction are between the bounds; none at all only if `mayBeEmpty`.
    private static Expr between(
            String low, boolean lowInclusive, String high, boolean highInclusive, boolean mayBeEmpty) {
        if (low.isEmpty() && high.isEmpty()) {
            if (!lowInclusive || !highInclusive) {
                return Expr.NOTHING;
            }
            return mayBeEmpty ? Expr.star(Expr.literal("0")) : Expr.plus(Expr.literal("0"));
        }
        char first = low.isEmpty() ? '0' : low.charAt(0);
        char last = high.isEmpty() ? '0' : high.charAt(0);
        String lowRest = low.isEmpty() ? "" : low.substring(1);
        String highRest = high.isEmpty() ? "" : high.substring(1);
        List<Expr> options = new ArrayList<>();
        if (mayBeEmpty && low.isEmpty() && lowInclusive) {
            options.add(Expr.EMPTY);
        }
        if (first == last) {
            options.add(Expr.seq(digit(first, first), between(lowRest, lowInclusive, highRest, highInclusive, true)));
        } else if (first < last) {
            options.add(Expr.seq(digit(first, first), atLeast(lowRest, lowInclusive)));
            if (last - first > 1) {
                options.add(Expr.seq(digit(first + 1, last - 1), DIGITS));
            }
            options.add(Expr.seq(digit(last, last), between("", true, highRest, highInclusive, true)));
        }
        return Expr.alt(options);
    }

    private static Expr digit(int first, int last) {
        return Expr.chars(first, last);
    }
}
