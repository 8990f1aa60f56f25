package dev.baton.serving.tools;

import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// `pythonic`, the format of Llama 3.2, Llama 4 and ToolACE: the whole output is a list of calls, `[f(a=1),
/// g(b='x')]`. An argument is given out once it is complete; a call begins with its first argument that is a
/// literal, or its closing parenthesis.
final class PythonicToolParser implements ToolParser {
    private static final Pattern ARGUMENT =
            Pattern.compile("\\s*([\\p{L}_][\\p{L}\\p{N}_]*)\\s*=(?!=)(.*)", Pattern.DOTALL);
    private static final Pattern NAME =
            Pattern.compile("[\\p{L}_][\\p{L}\\p{N}_]*(\\s*\\.\\s*[\\p{L}_][\\p{L}\\p{N}_]*)*");

    private enum State {
        START,
        FIRST_CALL,
        CALL,
        NAME,
        ARGUMENTS,
        NEXT,
        END,
        PLAIN
    }

    private final TextWindow text = new TextWindow();
    private final StringBuilder held = new StringBuilder();
    private final StringBuilder part = new StringBuilder();
    private State state = State.START;
    private String name = "";
    private boolean begun;
    private boolean hasArguments;
    private int depth;
    private String quote = ""; // of the string that is open
    private int quoteFrom; // where the text of that string begins in part
    private boolean escaped;

    @Override
    public void accept(String more, ToolCallSink sink) {
        text.append(more);
        while (!text.isEmpty()) {
            if (state == State.PLAIN) {
                sink.content(text.takeAll());
            } else {
                step(text.next(), sink);
            }
        }
    }

    @Override
    public void finish(ToolCallSink sink) {
        if (begun) {
            sink.end(false);
            begun = false;
        } else if (state == State.START) {
            sink.content(held);
        } else if (state != State.END && state != State.PLAIN) {
            refuse(sink);
        }
    }

    private void step(char c, ToolCallSink sink) {
        held.append(c);
        if (state == State.ARGUMENTS) {
            inArguments(c, sink);
            return;
        }
        if (state == State.NAME && c != '(') {
            part.append(c);
            if ("[]{}'\",;".indexOf(c) >= 0) {
                refuse(sink);
            }
            return;
        }
        if (JsonScanner.isSpace(c)) {
            return;
        }
        switch (state) {
            case START -> {
                if (c == '[') {
                    state = State.FIRST_CALL;
                } else {
                    state = State.PLAIN;
                    sink.content(held);
                    held.setLength(0);
                }
            }
            case FIRST_CALL, CALL -> {
                if (c == ']' && state == State.CALL) {
                    state = State.END; // behind a last comma
                    return;
                }
                part.setLength(0);
                part.append(c);
                state = State.NAME;
                if (!Character.isLetter(c) && c != '_') {
                    refuse(sink);
                }
            }
            case NAME -> {
                name = part.toString().strip();
                part.setLength(0);
                hasArguments = false;
                state = State.ARGUMENTS;
                if (!NAME.matcher(name).matches()) {
                    refuse(sink);
                }
            }
            case NEXT -> {
                if (c == ',') {
                    state = State.CALL;
                } else if (c == ']') {
                    state = State.END;
                } else {
                    refuse(sink);
                }
            }
            default -> refuse(sink); // text behind the list
        }
    }

    private void inArguments(char c, ToolCallSink sink) {
        if (!quote.isEmpty()) {
            part.append(c);
            if (escaped) {
                escaped = false;
            } else if (c == '\\') {
                escaped = true;
            } else if (part.length() - quote.length() >= quoteFrom && endsWith(part, quote)) {
                quote = "";
            }
            return;
        }
        switch (c) {
            case '\'', '"' -> openQuote(c);
            case '(', '[', '{' -> depth++;
            case ')', ']', '}' -> {
                if (depth == 0) {
                    if (c == ')') {
                        endOfCall(sink);
                    } else {
                        refuse(sink);
                    }
                    return;
                }
                depth--;
            }
            case ',' -> {
                if (depth == 0) {
                    if (!argument(sink)) {
                        refuse(sink);
                    }
                    return;
                }
            }
            default -> {}
        }
        part.append(c);
    }

    /// Three quotes in a row open a long string; two are an empty one, which the third makes long.
    private void openQuote(char c) {
        String one = String.valueOf(c);
        boolean third = endsWith(part, one + one) && !endsWith(part, one + one + one);
        quote = third ? one.repeat(3) : one;
        quoteFrom = part.length() + 1;
    }

    private static boolean endsWith(StringBuilder text, String end) {
        int from = text.length() - end.length();
        return from >= 0 && text.indexOf(end, from) == from;
    }

    /// Gives out the argument that is complete.
    private boolean argument(ToolCallSink sink) {
        Matcher matcher = ARGUMENT.matcher(part);
        if (!matcher.matches()) {
            return false;
        }
        Optional<String> value = PythonLiteral.toJson(matcher.group(2));
        if (value.isEmpty()) {
            return false;
        }
        begin(sink);
        sink.arguments((hasArguments ? ", \"" : "{\"") + matcher.group(1) + "\": " + value.get());
        hasArguments = true;
        part.setLength(0);
        return true;
    }

    private void endOfCall(ToolCallSink sink) {
        if (!part.toString().isBlank() && !argument(sink)) {
            refuse(sink);
            return;
        }
        begin(sink);
        sink.arguments(hasArguments ? "}" : "{}");
        sink.end(true);
        begun = false;
        held.setLength(0);
        part.setLength(0);
        state = State.NEXT;
    }

    private void begin(ToolCallSink sink) {
        if (!begun) {
            begun = true;
            held.setLength(0);
            sink.begin(name);
        }
    }

    private void refuse(ToolCallSink sink) {
        if (begun) {
            sink.end(false);
            begun = false;
        }
        sink.malformed();
        sink.content(held);
        held.setLength(0);
        state = State.PLAIN;
    }
}
