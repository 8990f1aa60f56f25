package dev.baton.serving.tools;

/// Output that is nothing but the arguments of one call whose function is known. One thread.
final class ForcedCallParser implements ToolParser {
    private final String name;
    private final JsonScanner scanner = new JsonScanner();
    private boolean begun;
    private boolean complete;
    private boolean bad;

    ForcedCallParser(String name) {
        this.name = name;
    }

    @Override
    public void accept(String text, ToolCallSink sink) {
        String more = begun ? text : text.stripLeading();
        if (more.isEmpty()) {
            return;
        }
        if (!begun) {
            begun = true;
            sink.begin(name);
        }
        for (int i = 0; i < more.length() && !bad; i++) {
            if (complete) {
                bad = !JsonScanner.isSpace(more.charAt(i));
            } else {
                JsonScanner.Status status = scanner.accept(more.charAt(i));
                bad = status == JsonScanner.Status.BAD;
                complete = status == JsonScanner.Status.END || status == JsonScanner.Status.END_BEFORE;
            }
        }
        sink.arguments(more);
    }

    @Override
    public void finish(ToolCallSink sink) {
        if (begun) {
            sink.end(!bad && (complete || scanner.endsHere()));
        }
    }
}
