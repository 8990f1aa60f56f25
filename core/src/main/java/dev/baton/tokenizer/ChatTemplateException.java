package dev.baton.tokenizer;

/// Says that a chat template does not compile, does not accept these messages, or uses what Baton's interpreter
/// lacks. The message is the template's own where it called `raise_exception`, else it names the construct and
/// its line.
public class ChatTemplateException extends TokenizerException {
    /// @param message what was wrong, with the template's line where known
    public ChatTemplateException(String message) {
        super(message);
    }

    /// @param message what was wrong, with the template's line where known
    /// @param cause the failure behind it
    public ChatTemplateException(String message, Throwable cause) {
        super(message, cause);
    }
}
