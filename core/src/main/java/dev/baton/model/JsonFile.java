package dev.baton.model;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import tools.jackson.core.JacksonException;
import tools.jackson.core.TokenStreamLocation;
import tools.jackson.core.exc.UnexpectedEndOfInputException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Reads the JSON files of a model folder, with errors in one sentence that names the file and the place in it.
public final class JsonFile {
    private JsonFile() {}

    /// Reads a file that must hold a JSON object.
    ///
    /// @throws ModelException if it cannot be read, is not JSON, or holds something else
    public static JsonNode readObject(Path file) {
        JsonNode node;
        try {
            node = parse(file.toString(), Files.readAllBytes(file));
        } catch (IOException e) {
            throw new ModelException(file + " cannot be read: " + e.getMessage(), e);
        }
        if (!node.isObject()) {
            throw new ModelException(file + " must hold a JSON object, not "
                    + (node.isMissingNode()
                            ? "nothing"
                            : node.getNodeType().name().toLowerCase(Locale.ROOT)));
        }
        return node;
    }

    /// Parses JSON that is a part of a file.
    ///
    /// @param name begins the message
    /// @throws ModelException if it is not JSON
    public static JsonNode parse(String name, byte[] json) {
        try {
            return JsonMapper.shared().readTree(json);
        } catch (JacksonException e) {
            throw new ModelException(name + " is not valid JSON: it " + fault(e), e);
        }
    }

    /// Jackson's own words name its options and sources, which are of no use to whoever has the file.
    private static String fault(JacksonException e) {
        String fault = e instanceof UnexpectedEndOfInputException ? "ends too early" : "is damaged";
        TokenStreamLocation at = e.getLocation();
        return at == null || at.getLineNr() < 1
                ? fault
                : fault + ", at line " + at.getLineNr() + ", column " + at.getColumnNr();
    }
}
