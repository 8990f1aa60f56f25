package dev.baton.tokenizer.jinja;

/// Says that a template does not compile or cannot be rendered with the values given.
public final class JinjaException extends RuntimeException {
    private final int line;
    private final boolean raisedByTemplate;

    private JinjaException(String message, int line, boolean raisedByTemplate) {
        super(message);
        this.line = line;
        this.raisedByTemplate = raisedByTemplate;
    }

    /// An error whose line is not known yet; the evaluator adds it.
    JinjaException(String message) {
        this(message, 0, false);
    }

    JinjaException(String message, int line) {
        this("line " + line + ": " + message, line, false);
    }

    /// The template called `raise_exception(message)`.
    static JinjaException raised(String message) {
        return new JinjaException(message, 0, true);
    }

    static JinjaException unsupported(String what) {
        return new JinjaException(what + " is not supported");
    }

    /// Whether the message is the template author's own, from `raise_exception`.
    public boolean raisedByTemplate() {
        return raisedByTemplate;
    }

    /// This error with the line where it happened, unless it is known already.
    JinjaException at(int where) {
        if (line > 0 || raisedByTemplate) {
            return this;
        }
        JinjaException located = new JinjaException(String.valueOf(getMessage()), where);
        located.setStackTrace(getStackTrace());
        return located;
    }
}
