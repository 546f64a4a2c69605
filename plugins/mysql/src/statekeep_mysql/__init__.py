"""statekeep on MySQL and MariaDB."""

from statekeep_mysql.config import MysqlConfig

__all__ = ["MysqlConfig"]
