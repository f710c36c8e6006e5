"""The SPaR method, free of orchestration: records, engines, roles, search, training data, training, evaluation."""
