"""Teacher, student and heads: functional Keras models that return the states named in `states`."""
