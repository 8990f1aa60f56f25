package dev.baton.tokenizer;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import tools.jackson.core.JacksonException;
import tools.jackson.core.TokenStreamLocation;
import tools.jackson.core.exc.UnexpectedEndOfInputException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// What `tokenizer_config.json` and the chat template files beside it say.
///
/// @param specialTokens `bos_token`, `eos_token`, ... with their text
/// @param addedTokens the entries of `added_tokens_decoder`, by id
/// @param addBosToken whether encoding begins with the BOS token, where the configuration decides that
/// @param addEosToken whether encoding ends with the EOS token, where the configuration decides that
/// @param chatTemplates by name: `default`, `tool_use`, ...
record TokenizerConfig(
        Map<String, String> specialTokens,
        Map<Integer, JsonNode> addedTokens,
        Optional<Boolean> addBosToken,
        Optional<Boolean> addEosToken,
        Map<String, String> chatTemplates) {
    private static final List<String> SPECIAL_TOKENS =
            List.of("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token");

    /// The tokenizer classes of `transformers` 4 that obey `add_bos_token` and `add_eos_token`, by default with
    /// BOS and without EOS, whatever post-processor tokenizer.json has. With every other class tokenizer.json
    /// alone decides.
    private static final Set<String> CLASSES_THAT_ADD_BOS =
            Set.of("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer");

    static TokenizerConfig read(Path modelDirectory) {
        Path file = modelDirectory.resolve("tokenizer_config.json");
        JsonNode root =
                Files.exists(file) ? readJson(file) : JsonMapper.shared().createObjectNode();
        Map<String, String> specialTokens = new LinkedHashMap<>();
        for (String name : SPECIAL_TOKENS) {
            tokenText(root.path(name)).ifPresent(text -> specialTokens.put(name, text));
        }
        Map<Integer, JsonNode> addedTokens = new LinkedHashMap<>();
        root.path("added_tokens_decoder").properties().stream()
                .sorted((a, b) -> Integer.compare(Integer.parseInt(a.getKey()), Integer.parseInt(b.getKey())))
                .forEach(entry -> addedTokens.put(Integer.valueOf(entry.getKey()), entry.getValue()));
        String tokenizerClass = root.path("tokenizer_class").asString("").replaceFirst("Fast$", "");
        boolean decides = CLASSES_THAT_ADD_BOS.contains(tokenizerClass);
        return new TokenizerConfig(
                Map.copyOf(specialTokens),
                addedTokens,
                decides ? Optional.of(root.path("add_bos_token").asBoolean(true)) : Optional.empty(),
                decides ? Optional.of(root.path("add_eos_token").asBoolean(false)) : Optional.empty(),
                chatTemplates(modelDirectory, root.path("chat_template"), file));
    }

    static JsonNode readJson(Path file) {
        try {
            return JsonMapper.shared().readTree(Files.readAllBytes(file));
        } catch (IOException e) {
            throw new TokenizerException(file + " cannot be read: " + e.getMessage(), e);
        } catch (JacksonException e) {
            TokenStreamLocation at = e.getLocation();
            throw new TokenizerException(
                    file + " is not valid JSON: it "
                            + (e instanceof UnexpectedEndOfInputException ? "ends too early" : "is damaged")
                            + (at == null || at.getLineNr() < 1
                                    ? ""
                                    : ", at line " + at.getLineNr() + ", column " + at.getColumnNr()),
                    e);
        }
    }

    /// A token written as text or as an object with its text in `content`.
    private static Optional<String> tokenText(JsonNode token) {
        JsonNode text = token.isObject() ? token.path("content") : token;
        return text.isString() ? Optional.of(text.asString()) : Optional.empty();
    }

    /// The templates in files take the place of those in the configuration, as in `transformers`.
    private static Map<String, String> chatTemplates(Path modelDirectory, JsonNode configured, Path configFile) {
        Map<String, String> templates = new LinkedHashMap<>();
        Path file = modelDirectory.resolve("chat_template.jinja");
        if (Files.exists(file)) {
            templates.put("default", readText(file));
        }
        Path directory = modelDirectory.resolve("additional_chat_templates");
        if (Files.isDirectory(directory)) {
            for (Path named : list(directory)) {
                String name = named.getFileName().toString();
                if (name.endsWith(".jinja")) {
                    templates.put(name.substring(0, name.length() - ".jinja".length()), readText(named));
                }
            }
        }
        if (!templates.isEmpty()) {
            return templates;
        }
        if (configured.isString()) {
            templates.put("default", configured.asString());
        } else if (configured.isArray()) {
            for (JsonNode entry : configured) {
                templates.put(
                        entry.path("name").asString(""), entry.path("template").asString(""));
            }
        } else if (!configured.isMissingNode() && !configured.isNull()) {
            throw new TokenizerException(
                    configFile + ": chat_template must be a string or a list of objects with name and template");
        }
        return templates;
    }

    private static List<Path> list(Path directory) {
        try (Stream<Path> files = Files.list(directory)) {
            return new ArrayList<>(files.sorted().toList());
        } catch (IOException e) {
            throw new TokenizerException(directory + " cannot be read", e);
        }
    }

    private static String readText(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            throw new TokenizerException(file + " cannot be read as UTF-8 text", e);
        }
    }
}
