package dev.baton.http;

import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.util.Locale;

/// What is wrong with a file, in words for whoever named it. The JDK's own messages are the file's name alone,
/// behind the name of a class. Stateless.
public final class FileProblem {
    private FileProblem() {}

    /// What follows "cannot be read: ", or "cannot be written: ".
    public static String of(IOException failure) {
        return switch (failure) {
            case NoSuchFileException _ -> "there is no such file";
            case AccessDeniedException _ -> "its permissions do not allow it";
            case CharacterCodingException _ -> "it is no text in UTF-8";
            case FileSystemException other -> words(other.getReason() == null ? "" : other.getReason());
            default -> words(failure.getMessage() == null ? "" : failure.getMessage());
        };
    }

    /// The operating system's words, as a part of a sentence.
    private static String words(String reason) {
        return reason.isBlank()
                ? "the operating system does not say why"
                : reason.substring(0, 1).toLowerCase(Locale.ROOT) + reason.substring(1);
    }
}
