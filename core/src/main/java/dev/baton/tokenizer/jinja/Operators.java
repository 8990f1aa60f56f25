package dev.baton.tokenizer.jinja;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;

/// Python's arithmetic on template values. Integers are 64-bit here: what does not fit fails.
final class Operators {
    private Operators() {}

    static Object apply(String operator, Object left, Object right) {
        Values.failIfUndefined(left);
        Values.failIfUndefined(right);
        if (isNumber(left) && isNumber(right)) {
            try {
                return isFloat(left) || isFloat(right) || operator.equals("/")
                        ? floats(operator, toDouble(left), toDouble(right))
                        : integers(operator, toLong(left), toLong(right));
            } catch (ArithmeticException e) {
                throw new JinjaException("'" + operator + "': "
                        + (toDouble(right) == 0 ? "division by zero" : "an integer beyond 64 bits is not supported"));
            }
        }
        switch (operator) {
            case "+" -> {
                if (left instanceof String a && right instanceof String b) {
                    return a.concat(b);
                }
                if (left instanceof List<?> a && right instanceof List<?> b) {
                    return joined(a, b);
                }
                if (left instanceof Tuple(List<Object> a) && right instanceof Tuple(List<Object> b)) {
                    return new Tuple(joined(a, b));
                }
            }
            case "*" -> {
                if (isSequence(left) && isInteger(right)) {
                    return repeated(left, toLong(right));
                }
                if (isInteger(left) && isSequence(right)) {
                    return repeated(right, toLong(left));
                }
            }
            case "%" -> {
                if (left instanceof String format) {
                    return Formatting.percent(format, right);
                }
            }
            default -> {}
        }
        throw new JinjaException("unsupported operands for '" + operator + "': '" + Values.typeName(left) + "' and '"
                + Values.typeName(right) + "'");
    }

    static Object sign(char sign, Object value) {
        Values.failIfUndefined(value);
        return switch (value) {
            case Double number -> sign == '-' ? -number : number;
            case Long number -> sign == '-' ? Math.negateExact(number) : number;
            case Boolean truth -> sign == '-' ? -toLong(truth) : toLong(truth);
            default -> throw new JinjaException("bad operand for '" + sign + "': '" + Values.typeName(value) + "'");
        };
    }

    static boolean compare(String operator, Object left, Object right) {
        return switch (operator) {
            case "==" -> Values.equal(left, right);
            case "!=" -> !Values.equal(left, right);
            case "in" -> Values.contains(right, left);
            case "not in" -> !Values.contains(right, left);
            default -> {
                int order = Values.compare(left, right);
                yield switch (operator) {
                    case "<" -> order < 0;
                    case "<=" -> order <= 0;
                    case ">" -> order > 0;
                    case ">=" -> order >= 0;
                    default -> throw JinjaException.unsupported("the operator '" + operator + "'");
                };
            }
        };
    }

    static boolean isNumber(Object value) {
        return isInteger(value) || isFloat(value);
    }

    private static boolean isFloat(Object value) {
        return value instanceof Double;
    }

    private static boolean isInteger(Object value) {
        return value instanceof Long || value instanceof Boolean || value instanceof BigInteger;
    }

    private static boolean isSequence(Object value) {
        return value instanceof String || value instanceof List<?> || value instanceof Tuple;
    }

    private static long toLong(Object value) {
        return switch (value) {
            case Boolean truth -> truth ? 1 : 0;
            case BigInteger number -> number.longValueExact();
            default -> ((Number) value).longValue();
        };
    }

    static double toDouble(Object value) {
        return value instanceof Boolean truth ? (truth ? 1 : 0) : ((Number) value).doubleValue();
    }

    private static Object integers(String operator, long a, long b) {
        return switch (operator) {
            case "+" -> Math.addExact(a, b);
            case "-" -> Math.subtractExact(a, b);
            case "*" -> Math.multiplyExact(a, b);
            case "//" -> Math.floorDiv(a, b);
            case "%" -> Math.floorMod(a, b);
            case "**" -> b < 0 ? (Object) Math.pow((double) a, (double) b) : (Object) power(a, b);
            default -> throw JinjaException.unsupported("the operator '" + operator + "'");
        };
    }

    private static long power(long base, long exponent) {
        if (exponent > Integer.MAX_VALUE) {
            throw new ArithmeticException("exponent");
        }
        if (base >= -1 && base <= 1) {
            return exponent == 0 || (base == -1 && exponent % 2 == 0) ? 1 : base;
        }
        if (exponent >= Long.SIZE) {
            throw new ArithmeticException("overflow");
        }
        return BigInteger.valueOf(base).pow((int) exponent).longValueExact();
    }

    private static Object floats(String operator, double a, double b) {
        if (b == 0 && (operator.equals("/") || operator.equals("//") || operator.equals("%"))) {
            throw new ArithmeticException("division by zero");
        }
        return switch (operator) {
            case "+" -> a + b;
            case "-" -> a - b;
            case "*" -> a * b;
            case "/" -> a / b;
            case "//" -> Math.floor(a / b);
            case "%" -> {
                double rest = a % b;
                yield rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
            }
            case "**" -> Math.pow(a, b);
            default -> throw JinjaException.unsupported("the operator '" + operator + "'");
        };
    }

    private static List<Object> joined(List<?> left, List<?> right) {
        List<Object> all = new ArrayList<>(left.size() + right.size());
        all.addAll(left);
        all.addAll(right);
        return all;
    }

    private static Object repeated(Object sequence, long times) {
        int count = Math.toIntExact(Math.max(0, times));
        if (sequence instanceof String text) {
            return text.repeat(count);
        }
        List<Object> items = Values.items(sequence);
        List<Object> all = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            all.addAll(items);
        }
        return sequence instanceof Tuple ? new Tuple(all) : all;
    }
}
