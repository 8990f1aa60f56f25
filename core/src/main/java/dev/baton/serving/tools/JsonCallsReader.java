package dev.baton.serving.tools;

import dev.baton.http.Json;
import dev.baton.openai.Text;
import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;

/// Reads calls that are written as JSON, `{"name": ..., "arguments": {...}}`, one or an array of them, character by
/// character. Other members are passed over, the order does not matter, `parameters` is another word for
/// `arguments`.
///
/// A call begins once its name is known and its arguments are there, so that an object that only has a name is
/// none. Arguments are given out as they are written. One thread.
final class JsonCallsReader {
    /// What is to be read.
    enum Shape {
        OBJECT,
        ARRAY,
        EITHER
    }

    /// How far [#read] got.
    enum Outcome {
        MORE,
        /// The last call is complete.
        END,
        /// The call that has begun is no JSON; what does not fit has not been taken.
        BROKEN,
        /// What came since the last call is none; its text is [#held].
        REFUSED
    }

    private enum Status {
        MORE,
        /// The last character of the last call.
        END,
        BAD
    }

    private enum State {
        OPEN,
        ELEMENT,
        ELEMENT_OR_END,
        AFTER_ELEMENT,
        KEY,
        KEY_OR_END,
        IN_KEY,
        COLON,
        VALUE,
        IN_VALUE,
        AFTER_VALUE
    }

    private enum Member {
        NAME,
        ARGUMENTS,
        OTHER
    }

    private final Shape shape;
    private final boolean argumentsOptional;
    private final boolean decodesStrings;
    private final StringBuilder held = new StringBuilder();
    private final StringBuilder key = new StringBuilder();
    private final StringBuilder nameJson = new StringBuilder();
    private final StringBuilder arguments = new StringBuilder();
    private State state = State.OPEN;
    private boolean inArray;
    private JsonScanner scanner = new JsonScanner();
    private Member member = Member.OTHER;
    private @Nullable String name;
    private boolean hasArguments;
    private boolean stringArguments;
    private boolean begun;

    /// @param argumentsOptional whether a call without arguments has the arguments `{}`
    /// @param decodesStrings whether arguments that are a JSON string are what the string says
    JsonCallsReader(Shape shape, boolean argumentsOptional, boolean decodesStrings) {
        this.shape = shape;
        this.argumentsOptional = argumentsOptional;
        this.decodesStrings = decodesStrings;
    }

    /// The text that is in no call so far: content, if no call comes of it.
    String held() {
        return held.toString();
    }

    /// Takes what belongs to the calls.
    Outcome read(TextWindow text, ToolCallSink sink) {
        while (!text.isEmpty()) {
            Status status = accept(text.peek(), sink);
            if (status == Status.BAD && begun) {
                flush(sink);
                return Outcome.BROKEN;
            }
            text.next();
            if (status != Status.MORE) {
                return status == Status.END ? Outcome.END : Outcome.REFUSED;
            }
        }
        flush(sink);
        return Outcome.MORE;
    }

    /// The output is over before the calls are.
    ///
    /// @param marker what stood before them
    void finish(String marker, ToolCallSink sink) {
        if (begun) {
            flush(sink);
            sink.end(false);
        } else {
            sink.malformed();
            sink.content(marker + held);
        }
    }

    private Status accept(char c, ToolCallSink sink) {
        if (!begun) {
            held.append(c);
        }
        if (state == State.IN_VALUE) {
            return inValue(c, sink);
        }
        if (state == State.IN_KEY) {
            key.append(c);
            return switch (scanner.accept(c)) {
                case MORE -> Status.MORE;
                case END -> to(State.COLON);
                default -> Status.BAD;
            };
        }
        if (JsonScanner.isSpace(c)) {
            return Status.MORE;
        }
        return switch (state) {
            case OPEN -> {
                if (c == '[' && shape != Shape.OBJECT) {
                    inArray = true;
                    yield to(State.ELEMENT_OR_END);
                }
                yield c == '{' && shape != Shape.ARRAY ? to(State.KEY_OR_END) : Status.BAD;
            }
            case ELEMENT, ELEMENT_OR_END -> {
                if (c == ']' && state == State.ELEMENT_OR_END) {
                    yield Status.BAD; // no call at all
                }
                yield c == '{' ? to(State.KEY_OR_END) : Status.BAD;
            }
            case AFTER_ELEMENT -> c == ',' ? to(State.ELEMENT) : c == ']' ? Status.END : Status.BAD;
            case KEY_OR_END -> c == '}' ? endOfObject(sink) : beginKey(c);
            case KEY -> beginKey(c);
            case COLON -> c == ':' ? to(State.VALUE) : Status.BAD;
            case VALUE -> beginValue(c, sink);
            case AFTER_VALUE -> c == ',' ? to(State.KEY) : c == '}' ? endOfObject(sink) : Status.BAD;
            default -> throw new IllegalStateException(state.name());
        };
    }

    /// Gives out the arguments that have come so far.
    private void flush(ToolCallSink sink) {
        if (begun && !stringArguments && !arguments.isEmpty()) {
            sink.arguments(arguments.toString());
            arguments.setLength(0);
        }
    }

    private Status to(State next) {
        state = next;
        return Status.MORE;
    }

    private Status beginKey(char c) {
        if (c != '"') {
            return Status.BAD;
        }
        scanner = new JsonScanner();
        scanner.accept(c);
        key.setLength(0);
        key.append(c);
        return to(State.IN_KEY);
    }

    private Status beginValue(char c, ToolCallSink sink) {
        String said = key.toString();
        boolean saysArguments = said.equals("\"arguments\"") || said.equals("\"parameters\"");
        member = said.equals("\"name\"") && name == null
                ? Member.NAME
                : saysArguments && !hasArguments ? Member.ARGUMENTS : Member.OTHER;
        scanner = new JsonScanner();
        if (member == Member.NAME) {
            nameJson.setLength(0);
            if (c != '"') {
                return Status.BAD;
            }
        } else if (member == Member.ARGUMENTS) {
            hasArguments = true;
            stringArguments = decodesStrings && c == '"';
            beginIfKnown(sink);
        }
        state = State.IN_VALUE;
        return inValue(c, sink);
    }

    private Status inValue(char c, ToolCallSink sink) {
        JsonScanner.Status status = scanner.accept(c);
        if (status == JsonScanner.Status.BAD) {
            return Status.BAD;
        }
        if (status != JsonScanner.Status.END_BEFORE) {
            switch (member) {
                case NAME -> nameJson.append(c);
                case ARGUMENTS -> arguments.append(c);
                case OTHER -> {}
            }
        }
        if (status == JsonScanner.Status.MORE) {
            return Status.MORE;
        }
        state = State.AFTER_VALUE;
        if (member == Member.NAME) {
            String decoded = decode(nameJson);
            if (decoded.isEmpty() || Text.indexOfLoneSurrogate(decoded) >= 0) {
                return Status.BAD;
            }
            name = decoded;
            beginIfKnown(sink);
        } else if (member == Member.ARGUMENTS && stringArguments) {
            String decoded = decode(arguments);
            if (Text.indexOfLoneSurrogate(decoded) >= 0) {
                return Status.BAD;
            }
            arguments.setLength(0);
            arguments.append(decoded);
            stringArguments = false;
        }
        if (status == JsonScanner.Status.END) {
            return Status.MORE;
        }
        if (!begun) {
            held.setLength(held.length() - 1); // accept() adds it again
        }
        return accept(c, sink);
    }

    private void beginIfKnown(ToolCallSink sink) {
        String known = name;
        if (!begun && known != null && hasArguments) {
            begun = true;
            held.setLength(0);
            sink.begin(known);
        }
    }

    private Status endOfObject(ToolCallSink sink) {
        if (name != null && !hasArguments && argumentsOptional) {
            hasArguments = true;
            arguments.append("{}");
            beginIfKnown(sink);
        }
        if (!begun) {
            return Status.BAD;
        }
        flush(sink);
        sink.end(true);
        begun = false;
        name = null;
        hasArguments = false;
        return inArray ? to(State.AFTER_ELEMENT) : Status.END;
    }

    private static String decode(CharSequence json) {
        return Json.parse(json.toString().getBytes(StandardCharsets.UTF_8)).stringValue();
    }
}
