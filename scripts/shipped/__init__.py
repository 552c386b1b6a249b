"""The shipped workflows and blueprints as one description, from which their files are written.

`names`: what each is called. `files`: the model files they need. `sheet`: nodes and wires.
`layout`: where everything stands. The rest says what is in each workflow.
"""
