"""The configuration: from the bytes of YAML files to what they declare, or to what is wrong with them."""

from keyform.config.configuration import Config, ServiceConfig, StateConfig, StoreConfig
from keyform.config.load import load

__all__ = ["Config", "ServiceConfig", "StateConfig", "StoreConfig", "load"]
