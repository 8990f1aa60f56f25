package dev.baton.tokenizer.jinja;

/// A value that is not there: prints as nothing, is false and empty, and fails when anything else is done with it.
///
/// @param message what is missing, for the failure
record Undefined(String message) {
    static Undefined variable(String name) {
        return new Undefined("'" + name + "' is undefined");
    }

    static Undefined attribute(Object object, String name) {
        return new Undefined("'" + Values.typeName(object) + "' object has no attribute '" + name + "'");
    }

    JinjaException failure() {
        return new JinjaException(message);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Undefined;
    }

    @Override
    public int hashCode() {
        return 1;
    }
}
