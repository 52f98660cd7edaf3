"""The reference key service: a small, real service that speaks keyform's key-service contract.

It stays an honest counterpart of the client by importing nothing from the rest of keyform.
"""
