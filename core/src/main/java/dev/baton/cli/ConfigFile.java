package dev.baton.cli;

import dev.baton.http.FileProblem;
import java.io.IOException;
import java.io.InputStream;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.api.lowlevel.Compose;
import org.snakeyaml.engine.v2.exceptions.Mark;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;
import org.snakeyaml.engine.v2.nodes.MappingNode;
import org.snakeyaml.engine.v2.nodes.Node;
import org.snakeyaml.engine.v2.nodes.NodeTuple;
import org.snakeyaml.engine.v2.nodes.ScalarNode;
import org.snakeyaml.engine.v2.nodes.SequenceNode;
import org.snakeyaml.engine.v2.nodes.Tag;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// The YAML file of `--config`, as vLLM has it: a key is a long flag without its dashes, with `-` or `_`
/// within; the value of a flag that takes JSON may be written as YAML.
///
/// Messages name file, line and key, and never an API key; other values may stand in them.
final class ConfigFile {
    private final CommandSpec command;
    private final Path file;
    private final List<FlagSetting> settings = new ArrayList<>();
    private final List<String> warnings = new ArrayList<>();

    private ConfigFile(CommandSpec command, Path file) {
        this.command = command;
        this.file = file;
    }

    /// Reads a file.
    ///
    /// @throws ParameterException in one sentence, with file, line and key, if a key is unknown or its value does
    ///     not fit, or if the file is not there or not YAML
    static ConfigFile read(CommandSpec command, Path file) {
        ConfigFile config = new ConfigFile(command, file);
        config.root().ifPresent(config::readKeys);
        return config;
    }

    List<FlagSetting> settings() {
        return settings;
    }

    List<String> warnings() {
        return warnings;
    }

    private Optional<Node> root() {
        LoadSettings yaml = LoadSettings.builder()
                .setLabel(file.toString())
                .setAllowNonScalarKeys(true)
                .build();
        try (InputStream bytes = Files.newInputStream(file)) {
            return new Compose(yaml).composeInputStream(bytes);
        } catch (NoSuchFileException e) {
            throw usage("There is no file %s.".formatted(file), e);
        } catch (IOException e) {
            throw usage("%s cannot be read: %s.".formatted(file, FileProblem.of(e)), e);
        } catch (MarkedYamlEngineException e) {
            throw usage("%s is no YAML: %s.".formatted(place(e.getProblemMark()), e.getProblem()), e);
        } catch (YamlEngineException e) {
            throw usage("%s is no YAML.".formatted(file), e);
        }
    }

    private void readKeys(Node root) {
        if (!(root instanceof MappingNode mapping)) {
            throw usage("%s: needed are lines such as 'port: 8000'.".formatted(place(root)));
        }
        Set<String> seen = new HashSet<>();
        for (NodeTuple entry : mapping.getValue()) {
            if (!(entry.getKeyNode() instanceof ScalarNode key)) {
                throw usage("%s: a key must be the name of a flag.".formatted(place(entry.getKeyNode())));
            }
            String flag = "--" + key.getValue().replace('_', '-');
            String name =
                    FlagSetting.find(command, flag).map(OptionSpec::longestName).orElse(flag);
            if (!seen.add(name)) {
                throw usage("%s: the key %s is there twice.".formatted(place(key), key.getValue()));
            }
            if (!entry.getValueNode().getTag().equals(Tag.NULL)) {
                readKey(key, flag, entry.getValueNode());
            }
        }
    }

    private void readKey(ScalarNode key, String flag, Node value) {
        Optional<OptionSpec> option = FlagSetting.find(command, flag)
                .filter(known -> !known.usageHelp() && !known.versionHelp() && !known.hidden())
                .filter(known -> !known.longestName().equals(ConfigOption.NAME));
        if (option.isPresent()) {
            String origin = place(key);
            try {
                settings.add(FlagSetting.of(command, flag, values(option.get(), value), origin));
            } catch (IllegalArgumentException e) {
                throw usage("%s: %s is wrong: %s.".formatted(origin, key.getValue(), e.getMessage()), e);
            }
        } else {
            readForeignKey(key, flag, value);
        }
    }

    /// A flag of vLLM's that is not Baton's, or of nobody.
    private void readForeignKey(ScalarNode key, String flag, Node value) {
        String word = value instanceof ScalarNode scalar ? flag + "=" + scalar.getValue() : flag + "=" + json(value);
        Optional<VllmFlags.Verdict> verdict =
                EngineOptions.areIn(command) ? VllmFlags.judge(List.of(word), 0) : Optional.empty();
        switch (verdict.orElseThrow(() -> unknown(key, flag))) {
            case VllmFlags.Verdict.LeftOut leftOut -> warnings.add(place(key) + ": " + leftOut.warning());
            case VllmFlags.Verdict.Refused refused -> throw usage(place(key) + ": " + refused.reason());
        }
    }

    private ParameterException unknown(ScalarNode key, String flag) {
        Set<String> known = new TreeSet<>();
        command.optionsMap().keySet().stream()
                .filter(name -> name.startsWith("--"))
                .forEach(name -> known.add(name.substring("--".length())));
        String hint = NearestName.of(flag.substring("--".length()), known)
                .map(near -> "; did you mean " + near + "?")
                .orElse(".");
        return usage("%s: there is no flag for the key %s%s".formatted(place(key), key.getValue(), hint));
    }

    private static List<String> values(OptionSpec option, Node value) {
        boolean takesJson = option.paramLabel().equals(ConfigOption.JSON_LABEL);
        return switch (value) {
            case ScalarNode scalar -> List.of(scalar.getValue());
            case SequenceNode sequence
            when option.isMultiValue() ->
                sequence.getValue().stream().map(ConfigFile::scalar).toList();
            default -> {
                if (!takesJson) {
                    throw new IllegalArgumentException(
                            option.isMultiValue() ? "it takes a list, got a mapping" : "it takes one value");
                }
                yield List.of(json(value).toString());
            }
        };
    }

    private static String scalar(Node node) {
        if (node instanceof ScalarNode scalar) {
            return scalar.getValue();
        }
        throw new IllegalArgumentException("it takes a list of single values");
    }

    private static JsonNode json(Node node) {
        JsonNodeFactory nodes = JsonNodeFactory.instance;
        return switch (node) {
            case MappingNode mapping -> {
                ObjectNode object = nodes.objectNode();
                for (NodeTuple entry : mapping.getValue()) {
                    object.set(scalar(entry.getKeyNode()), json(entry.getValueNode()));
                }
                yield object;
            }
            case SequenceNode sequence -> {
                ArrayNode array = nodes.arrayNode();
                sequence.getValue().forEach(element -> array.add(json(element)));
                yield array;
            }
            case ScalarNode scalar -> literal(scalar);
            default -> throw new IllegalArgumentException("it takes no such value");
        };
    }

    private static JsonNode literal(ScalarNode scalar) {
        JsonNodeFactory nodes = JsonNodeFactory.instance;
        String text = scalar.getValue();
        Tag tag = scalar.getTag();
        if (tag.equals(Tag.NULL)) {
            return nodes.nullNode();
        }
        if (tag.equals(Tag.BOOL)) {
            return nodes.booleanNode(text.equalsIgnoreCase("true"));
        }
        if (tag.equals(Tag.INT) || tag.equals(Tag.FLOAT)) {
            try {
                return nodes.numberNode(new BigDecimal(text));
            } catch (NumberFormatException e) {
                throw new IllegalArgumentException("it takes decimal numbers only", e);
            }
        }
        return nodes.stringNode(text);
    }

    private String place(Node node) {
        return place(node.getStartMark());
    }

    private String place(Optional<Mark> mark) {
        return mark.map(known -> "%s, line %d".formatted(file, known.getLine() + 1))
                .orElse(file.toString());
    }

    private ParameterException usage(String message) {
        return new ParameterException(command.commandLine(), message);
    }

    private ParameterException usage(String message, Exception cause) {
        return new ParameterException(command.commandLine(), message, cause);
    }
}
