package dev.baton.serving.tools;

/// Gives out the arguments of one call, a JSON value, as they come. One thread.
final class ArgumentsReader {
    enum Status {
        MORE,
        /// The value is complete.
        END,
        /// It is no JSON; what does not fit has not been taken.
        BAD
    }

    private final JsonScanner scanner = new JsonScanner();
    private boolean started;

    /// Takes what belongs to the value.
    Status read(TextWindow text, ToolCallSink sink) {
        if (!started && !text.skipSpace()) {
            return Status.MORE;
        }
        started = true;
        StringBuilder taken = new StringBuilder();
        Status status = Status.MORE;
        while (status == Status.MORE && !text.isEmpty()) {
            switch (scanner.accept(text.peek())) {
                case MORE -> taken.append(text.next());
                case END -> {
                    taken.append(text.next());
                    status = Status.END;
                }
                case END_BEFORE -> status = Status.END;
                case BAD -> status = Status.BAD;
            }
        }
        if (!taken.isEmpty()) {
            sink.arguments(taken.toString());
        }
        return status;
    }

    /// Whether the value is complete if nothing more comes.
    boolean endsHere() {
        return scanner.endsHere();
    }
}
