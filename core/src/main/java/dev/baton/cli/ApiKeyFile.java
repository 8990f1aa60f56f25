package dev.baton.cli;

import dev.baton.http.ApiKey;
import dev.baton.http.ApiKeySource;
import dev.baton.http.FileProblem;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;

/// Reads a file of API keys, in YAML or JSON: a list `keys` of entries with `name`, `hash`, and any of
/// `requests_per_minute`, `tokens_per_minute`, `max_concurrent` and `models`. The file holds no key itself.
///
/// Once it was read, other contents count when they are there twice in a row: a file half written may be a
/// shorter list. Not thread-safe.
final class ApiKeyFile implements ApiKeySource {
    private static final Set<String> FIELDS =
            Set.of("name", "hash", "requests_per_minute", "tokens_per_minute", "max_concurrent", "models");

    private final Path file;
    private Optional<String> applied = Optional.empty();
    private Optional<String> lastRead = Optional.empty();

    ApiKeyFile(Path file) {
        this.file = file;
    }

    @Override
    public Optional<List<ApiKey>> readIfChanged() {
        Optional<String> text = Optional.of(text(file));
        boolean counts = applied.isEmpty() || text.equals(lastRead);
        lastRead = text;
        if (!counts || text.equals(applied)) {
            return Optional.empty();
        }
        List<ApiKey> keys = parse(file, text.get());
        applied = text;
        return Optional.of(keys);
    }

    /// @throws IllegalArgumentException in one sentence, if the file cannot be read or is none of keys; it never
    ///     repeats a hash
    static List<ApiKey> read(Path file) {
        return parse(file, text(file));
    }

    private static String text(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            throw new IllegalArgumentException(
                    "--api-key-file %s cannot be read: %s".formatted(file, FileProblem.of(e)), e);
        }
    }

    private static List<ApiKey> parse(Path file, String text) {
        Object root;
        try {
            root = new Load(LoadSettings.builder().setLabel(file.toString()).build()).loadFromString(text);
        } catch (YamlEngineException e) {
            // The parser's message would repeat the line.
            throw new IllegalArgumentException("--api-key-file %s is neither YAML nor JSON".formatted(file));
        }
        if (!(root instanceof Map<?, ?> map) || !(map.get("keys") instanceof List<?> entries) || map.size() != 1) {
            throw wrong(file, "a list 'keys' and nothing else is needed at its top");
        }
        if (entries.isEmpty()) {
            throw wrong(file, "its list 'keys' is empty, which would admit everybody");
        }
        List<ApiKey> keys = new ArrayList<>(entries.size());
        for (Object entry : entries) {
            keys.add(key(file, keys.size() + 1, entry));
        }
        return keys;
    }

    private static IllegalArgumentException wrong(Path file, String what) {
        return new IllegalArgumentException("--api-key-file %s: %s".formatted(file, what));
    }

    private static ApiKey key(Path file, int number, @Nullable Object entry) {
        if (!(entry instanceof Map<?, ?> fields)
                || !(fields.get("name") instanceof String name)
                || !(fields.get("hash") instanceof String hash)) {
            throw wrong(file, "key %d needs a 'name' and a 'hash'".formatted(number));
        }
        for (Object field : fields.keySet()) {
            if (!(field instanceof String known) || !FIELDS.contains(known)) {
                throw wrong(file, "key %d has a field that is none of %s".formatted(number, FIELDS));
            }
        }
        Set<String> models = new LinkedHashSet<>();
        if (fields.get("models") instanceof List<?> listed) {
            listed.forEach(model -> models.add(String.valueOf(model)));
        } else if (fields.containsKey("models")) {
            throw wrong(file, "'models' of key %d is no list".formatted(number));
        }
        try {
            return ApiKey.hashed(name, hash)
                    .withLimits(
                            limit(file, number, fields, "requests_per_minute"),
                            limit(file, number, fields, "max_concurrent"),
                            models)
                    .withTokensPerMinute(limit(file, number, fields, "tokens_per_minute"));
        } catch (IllegalArgumentException e) {
            throw wrong(file, String.valueOf(e.getMessage()));
        }
    }

    private static int limit(Path file, int number, Map<?, ?> fields, String field) {
        if (!fields.containsKey(field)) {
            return 0;
        }
        if (fields.get(field) instanceof Integer limit && limit > 0) {
            return limit;
        }
        throw wrong(file, "'%s' of key %d is no whole number above 0".formatted(field, number));
    }
}
