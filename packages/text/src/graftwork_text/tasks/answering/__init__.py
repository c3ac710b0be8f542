"""Questions for causal language models: choosing among options of their own, or generating the answer.

``questions`` reads them, ``encoded`` makes batches, ``generation`` writes answers, ``marking`` compares
answers with the right ones, and ``prompt_answering`` is the task.
"""
