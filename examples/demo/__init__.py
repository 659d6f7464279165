"""A mesh in a minute: companies and addresses being limited, in the terminal."""
